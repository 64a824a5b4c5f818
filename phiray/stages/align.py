"""Stage `align`: train only the projector, between a frozen CLIP and a frozen language model.

Source: LLaVA's first stage (arXiv 2304.08485), on COCO captions.
Limits: one image per row; the caption follows the image without a prompt.
"""

from functools import partial

from phiray.config.model import ModelDescription
from phiray.config.stages import AlignConfig
from phiray.data.image_rows import ImageRows
from phiray.data.image_sets import caption_rows
from phiray.data.sources.coco import CaptionedImage
from phiray.data.split import Part
from phiray.models.clip import ClipTower
from phiray.models.freezing import freeze_for_stage
from phiray.models.projector import build_projector
from phiray.models.vision_language import VisionLanguageModel
from phiray.stages.given_model import check_given_model, explained_absence
from phiray.stages.images import image_ledger, prepare_image_rows
from phiray.stages.language_models import load_language_model, read_language_config
from phiray.stages.parts import PreparedData, StageParts, merge_ledgers, read_tokenizer
from phiray.training.objective import Objective
from phiray.types import Progress


def prepare(config: AlignConfig, *, progress: Progress | None = None) -> PreparedData:
    """Look at all inputs once, so that what is wrong with them is said before Ray starts."""
    tokenizer = read_tokenizer(config.data.root, config.data.tokenizer)
    path = config.language_model
    mend = "Train `scratch` or `litgpt` first, or set language_model to a folder of Phi."
    with explained_absence("language_model", path, mend=mend):
        language = read_language_config(path, tokenizer=tokenizer)
    check_given_model(
        language,
        tokenizer=tokenizer,
        max_length=config.data.max_length,
        setting=f"language_model {path}",
    )
    ClipTower(config.vision)
    rows = _rows(config, progress=progress)
    return prepare_image_rows(
        rows,
        config.data,
        validation=_validation_rows(config),
        load_tower=partial(ClipTower, config.vision),
        progress=progress,
    )


def build(config: AlignConfig) -> StageParts:
    """Build caption rows and the vision-language model, of which the projector is trainable."""
    tokenizer = read_tokenizer(config.data.root, config.data.tokenizer)
    language = load_language_model(config.language_model)
    vision = ClipTower(config.vision)
    projector = build_projector(
        config.projector,
        vision_hidden_size=config.vision.hidden_size,
        hidden_size=language.config.hidden_size,
        seed=config.run.seed,
    )
    model = VisionLanguageModel(
        language.model, vision, projector, image_token_id=tokenizer.image_id
    )
    freeze_for_stage(model, "align")
    rows = _rows(config)
    return StageParts(
        source=rows,
        validation=_validation_rows(config),
        objective=Objective(
            model,
            moe=language.config.moe,
            method=config.method,
            max_steps=config.training.max_steps,
            seed=config.run.seed,
        ),
        model=model,
        description=ModelDescription(
            kind="vision-language",
            language_model=language.config,
            vision=config.vision,
            vision_model=vision.model_cfg,
            projector=config.projector,
            image_token_id=tokenizer.image_id,
        ),
        tokenizer=tokenizer,
        image_size=config.vision.image_size,
        ledger=merge_ledgers(language.ledger, image_ledger(rows)),
    )


def _validation_rows(config: AlignConfig) -> ImageRows[CaptionedImage] | None:
    if config.data.split.validation_fraction == 0:
        return None
    return _rows(config, part="validation")


def _rows(
    config: AlignConfig, *, part: Part = "train", progress: Progress | None = None
) -> ImageRows[CaptionedImage]:
    return caption_rows(
        config.data,
        num_patches=config.vision.num_patches,
        seed=config.run.seed,
        part=part,
        progress=progress,
    )
