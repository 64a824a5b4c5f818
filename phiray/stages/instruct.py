"""Stage `instruct`: train language model and projector on conversations; CLIP stays frozen.

Source: LLaVA's second stage (arXiv 2304.08485), on LLaVA-Instruct rows.
Limits: full fine-tuning; no LoRA yet.
"""

from functools import partial

from phiray.config.model import VisionConfig
from phiray.config.stages import InstructConfig, image_length_fault
from phiray.data.image_rows import ImageRows
from phiray.data.image_sets import conversation_rows
from phiray.data.sources.conversations import Conversation
from phiray.data.split import Part
from phiray.errors import ConfigError
from phiray.models.freezing import freeze_for_stage
from phiray.models.vision_language import VisionLanguageModel
from phiray.stages.given_model import (
    check_given_model,
    check_same_tokenizer,
    explained_absence,
)
from phiray.stages.images import image_ledger, prepare_image_rows
from phiray.stages.parts import PreparedData, StageParts, merge_ledgers, read_tokenizer
from phiray.stages.restore import load_model, load_tower, read_outline
from phiray.training.objective import Objective
from phiray.types import Progress


def prepare(config: InstructConfig, *, progress: Progress | None = None) -> PreparedData:
    """Look at all inputs once, so that what is wrong with them is said before Ray starts."""
    mend = "Train `align` first, or set checkpoint to a run of it."
    with explained_absence("checkpoint", config.checkpoint, mend=mend):
        outline = read_outline(config.checkpoint)
    if outline.description.vision is None:
        raise ConfigError(
            f"checkpoint is {config.checkpoint}, which holds a language model without eyes. "
            "It must be a run or checkpoint of `align`. Train that first."
        )
    setting = f"checkpoint {config.checkpoint}"
    fault = image_length_fault(config.data, outline.description.vision, tower=setting)
    if fault is not None:
        raise ConfigError(fault)
    tokenizer = read_tokenizer(config.data.root, config.data.tokenizer)
    check_same_tokenizer(tokenizer, outline.tokenizer, setting=setting)
    check_given_model(
        outline.description.language_model,
        tokenizer=tokenizer,
        max_length=config.data.max_length,
        setting=setting,
    )
    rows = _rows(config, outline.description.vision, progress=progress)
    return prepare_image_rows(
        rows,
        config.data,
        validation=_validation_rows(config, outline.description.vision),
        load_tower=partial(load_tower, config.checkpoint),
        progress=progress,
    )


def build(config: InstructConfig) -> StageParts:
    """Build conversation rows and the aligned model, all of it trainable but CLIP."""
    loaded = load_model(config.checkpoint)
    model, vision = loaded.model, loaded.description.vision
    assert isinstance(model, VisionLanguageModel), "prepare refuses other models"
    assert vision is not None
    freeze_for_stage(model, "instruct")
    rows = _rows(config, vision)
    return StageParts(
        source=rows,
        validation=_validation_rows(config, vision),
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
        ledger=merge_ledgers(loaded.ledger, image_ledger(rows)),
    )


def _validation_rows(
    config: InstructConfig, vision: VisionConfig
) -> ImageRows[Conversation] | None:
    if config.data.split.validation_fraction == 0:
        return None
    return _rows(config, vision, part="validation")


def _rows(
    config: InstructConfig,
    vision: VisionConfig,
    *,
    part: Part = "train",
    progress: Progress | None = None,
) -> ImageRows[Conversation]:
    return conversation_rows(
        config.data,
        num_patches=vision.num_patches,
        seed=config.run.seed,
        part=part,
        progress=progress,
    )
