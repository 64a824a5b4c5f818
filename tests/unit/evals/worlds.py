"""A small built-in world and untrained models over it, as if loaded from checkpoints."""

from pathlib import Path

from phiray.config.data import ImageDataConfig, TextDataConfig
from phiray.config.model import ModelDescription, PhiConfig, ProjectorConfig, VisionConfig
from phiray.config.stages import (
    AlignConfig,
    AnyStageConfig,
    InstructConfig,
    RunConfig,
    ScratchConfig,
)
from phiray.models.build import AnyModel, build_language_model
from phiray.models.phi import Phi
from phiray.models.projector import build_projector
from phiray.models.vision_language import VisionLanguageModel
from phiray.stages.restore import LoadedModel
from phiray.text.tokenizer import Tokenizer
from phiray.world.build import build_world
from phiray.world.settings import WorldConfig
from tests.model_builders import VISION_HIDDEN, PixelMeans

SMALL = WorldConfig(num_images=80, num_books=60, num_rows=84, vocab_size=300, image_size=32)
VISION = VisionConfig(
    model="custom", weights="clip", image_size=32, patch_size=16, hidden_size=VISION_HIDDEN
)
SEQUENCE_LENGTH = 32
PICTURES = "instruct/world_conversations.json"


def make_world(root: Path) -> Path:
    build_world(root, seed=3, settings=SMALL)
    return root


def image_config(root: Path) -> ImageDataConfig:
    return ImageDataConfig(
        root=str(root), conversations=[PICTURES], max_length=160, system_prompt=""
    )


def load_scratch(root: Path, run: Path) -> LoadedModel:
    text = TextDataConfig(root=str(root), source="gutenberg", sequence_length=SEQUENCE_LENGTH)
    language = _language_config(root)
    config = ScratchConfig(
        run=RunConfig(name=run.name, output_dir=str(run.parent)), data=text, model=language
    )
    model = build_language_model(language, kind="phi", seed=0)
    description = ModelDescription(kind="phi", language_model=language)
    return _loaded(model.eval(), config, description, root=root, run=run)


def load_vlm(root: Path, run: Path, *, stage: str = "align") -> LoadedModel:
    language = _language_config(root)
    tokenizer = Tokenizer.load(root / "tokenizer")
    phi = build_language_model(language, kind="phi", seed=0)
    assert isinstance(phi, Phi)
    projector = build_projector(
        ProjectorConfig(), vision_hidden_size=VISION_HIDDEN, hidden_size=language.hidden_size
    )
    vision = PixelMeans()
    model = VisionLanguageModel(phi, vision, projector, image_token_id=tokenizer.image_id)
    settings = AlignConfig if stage == "align" else InstructConfig
    config = settings(
        run=RunConfig(name=run.name, output_dir=str(run.parent)), data=image_config(root)
    )
    description = ModelDescription(
        kind="vision-language",
        language_model=language,
        vision=VISION,
        projector=ProjectorConfig(),
        image_token_id=tokenizer.image_id,
    )
    return _loaded(model.eval(), config, description, root=root, run=run)


def _language_config(root: Path) -> PhiConfig:
    return PhiConfig(
        vocab_size=Tokenizer.load(root / "tokenizer").vocab_size,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        partial_rotary_factor=0.5,
        initializer_range=0.2,
    )


def _loaded(
    model: AnyModel,
    config: AnyStageConfig,
    description: ModelDescription,
    *,
    root: Path,
    run: Path,
) -> LoadedModel:
    return LoadedModel(
        model=model,
        tokenizer=Tokenizer.load(root / "tokenizer"),
        config=config,
        description=description,
        state={"step": 7},
        ledger={},
        checkpoint_path=run / "checkpoints" / "step-00000007",
    )
