"""Stage `instruct`: train language model and projector on conversations; CLIP stays frozen.

Source: LLaVA's second stage (arXiv 2304.08485), on LLaVA-Instruct rows.
Limits: full fine-tuning; no LoRA yet.
"""

from phiray.config.model import VisionConfig
from phiray.config.stages import InstructConfig
from phiray.data.image_rows import ConversationRows
from phiray.errors import ConfigError
from phiray.models.freezing import freeze_for_stage
from phiray.models.vision_language import VisionLanguageModel
from phiray.stages.parts import StageParts, check_same_tokenizer, merge_ledgers
from phiray.stages.restore import LoadedModel, load_model, read_description
from phiray.stages.text import check_given_model
from phiray.training.objective import Objective
from phiray.types import Progress


def prepare(config: InstructConfig, *, progress: Progress | None = None) -> dict[str, int]:
    """Read the conversations once, so that what is wrong is said before Ray starts."""
    vision = read_description(config.checkpoint).vision
    return _rows(config, _require_vision(config, vision), progress=progress).counts


def build(config: InstructConfig) -> StageParts:
    """Build conversation rows and the aligned model, all of it trainable but CLIP."""
    loaded = load_model(config.checkpoint)
    vision = _require_vision(config, loaded.description.vision)
    model = _vision_language_model(config, loaded)
    freeze_for_stage(model, "instruct")
    rows = _rows(config, vision)
    setting = f"checkpoint {config.checkpoint}"
    check_same_tokenizer(rows.tokenizer, loaded.tokenizer, setting=setting)
    check_given_model(
        loaded.description.language_model,
        tokenizer=loaded.tokenizer,
        max_length=config.data.max_length,
        setting=setting,
    )
    return StageParts(
        source=rows,
        objective=Objective(
            model,
            moe=loaded.description.language_model.moe,
            method=config.method,
            max_steps=config.training.max_steps,
            seed=config.run.seed,
        ),
        model=model,
        description=loaded.description,
        tokenizer=loaded.tokenizer,
        image_size=vision.image_size,
        ledger=merge_ledgers(loaded.ledger, {"image": list(rows.image_ids)}),
    )


def _rows(
    config: InstructConfig, vision: VisionConfig, *, progress: Progress | None = None
) -> ConversationRows:
    return ConversationRows(
        config.data,
        num_patches=vision.num_patches,
        seed=config.run.seed,
        part="train",
        system=config.data.system_prompt,
        progress=progress,
    )


def _require_vision(config: InstructConfig, vision: VisionConfig | None) -> VisionConfig:
    if vision is None:
        raise ConfigError(
            f"checkpoint is {config.checkpoint}, which holds a language model without eyes. "
            "It must be a run or checkpoint of `align`. Train that first."
        )
    return vision


def _vision_language_model(config: InstructConfig, loaded: LoadedModel) -> VisionLanguageModel:
    assert isinstance(loaded.model, VisionLanguageModel), config.checkpoint
    return loaded.model
