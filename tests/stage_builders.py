"""Stages on a very small built-in world, trained for a few steps by the real loop, without Ray."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from phiray.config.data import ImageDataConfig, SplitConfig, TextDataConfig
from phiray.config.model import MoeConfig, PhiConfig, VisionConfig
from phiray.config.stages import (
    AlignConfig,
    AnyStageConfig,
    InstructConfig,
    LitgptConfig,
    RunConfig,
    ScratchConfig,
)
from phiray.config.training import TrainingConfig
from phiray.data.order import plan_order, rank_positions
from phiray.jobs.features import with_cached_features
from phiray.jobs.run_folder import run_folder
from phiray.stages.parts import StageParts, checkpoint_texts
from phiray.stages.registry import stage_module
from phiray.stages.validation import build_validation
from phiray.training.collective import Collective
from phiray.training.loop import LoopResult, LoopSettings, run_loop
from phiray.training.run_files import open_run, resume
from phiray.training.state import build_state
from phiray.world.build import build_world
from phiray.world.settings import WorldConfig
from tests.step_reader import read_steps

CPU = torch.device("cpu")
STEPS = 3
BATCH = 4
VOCAB = 320
SEQUENCE = 32
POSITIONS = 96
IMAGE_SIZE = 32
PATCH_SIZE = 16
VISION_HIDDEN = 32
SPLIT = SplitConfig(heldout_fraction=0.25)
MOE = MoeConfig(num_experts=2, num_experts_per_token=1, intermediate_size=8, bias_update_rate=0.01)
CLIP_CFG = {
    "embed_dim": 16,
    "quick_gelu": False,
    "vision_cfg": {
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
        "width": VISION_HIDDEN,
        "layers": 2,
        "head_width": 16,
    },
    "text_cfg": {"context_length": 4, "vocab_size": 8, "width": 16, "heads": 1, "layers": 1},
}


@dataclass(frozen=True)
class Trained:
    """A stage after its last step."""

    parts: StageParts
    run_dir: Path
    before: dict[str, Tensor]
    """Weights before the first step."""
    result: LoopResult


def write_world(root: Path) -> Path:
    settings = WorldConfig(
        num_images=40,
        image_size=IMAGE_SIZE,
        num_books=8,
        num_rows=28,
        vocab_size=300,
        split=SPLIT,
    )
    build_world(root, seed=3, settings=settings)
    return root


def write_clip(folder: Path, visual: dict[str, Tensor]) -> Path:
    """Write an open_clip folder with the weights of a tower."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"visual.{name}": tensor.contiguous() for name, tensor in visual.items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP_CFG}))
    return folder


def phi_config(*, moe: MoeConfig | None = None, vocab_size: int = VOCAB) -> PhiConfig:
    return PhiConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=POSITIONS,
        partial_rotary_factor=0.5,
        moe=moe,
    )


def training(max_steps: int = STEPS) -> TrainingConfig:
    return TrainingConfig(
        global_batch_size=BATCH,
        max_steps=max_steps,
        learning_rate=1e-2,
        warmup_steps=0,
        checkpoint_every_steps=max_steps,
    )


def _text_data(world: Path, source: Literal["gutenberg", "redpajama"]) -> TextDataConfig:
    return TextDataConfig(root=str(world), source=source, sequence_length=SEQUENCE, split=SPLIT)


def scratch_config(world: Path, runs: Path, *, name: str = "scratch") -> ScratchConfig:
    return ScratchConfig(
        run=RunConfig(name=name, output_dir=str(runs)),
        data=_text_data(world, "gutenberg"),
        model=phi_config(moe=MOE),
        training=training(),
    )


def litgpt_config(world: Path, runs: Path) -> LitgptConfig:
    return LitgptConfig(
        run=RunConfig(name="litgpt", output_dir=str(runs)),
        data=_text_data(world, "redpajama"),
        model=phi_config(),
        training=training(),
    )


def image_data(world: Path) -> ImageDataConfig:
    return ImageDataConfig(
        root=str(world),
        annotations=["coco/annotations/captions_train2017.json"],
        conversations=["instruct/world_conversations.json"],
        system_prompt="",
        max_length=POSITIONS,
        split=SPLIT,
    )


def align_config(
    world: Path, runs: Path, *, clip: Path, language_model: Path, name: str = "align"
) -> AlignConfig:
    return AlignConfig(
        run=RunConfig(name=name, output_dir=str(runs)),
        data=image_data(world),
        language_model=str(language_model),
        vision=VisionConfig(
            model="custom",
            weights=str(clip),
            image_size=IMAGE_SIZE,
            patch_size=PATCH_SIZE,
            hidden_size=VISION_HIDDEN,
        ),
        training=training(),
    )


def instruct_config(world: Path, runs: Path, *, checkpoint: Path) -> InstructConfig:
    return InstructConfig(
        run=RunConfig(name="instruct", output_dir=str(runs)),
        data=image_data(world),
        checkpoint=str(checkpoint),
        training=training(),
    )


def train(
    config: AnyStageConfig, *, device: torch.device = CPU, features: Path | None = None
) -> Trained:
    """Do what a worker does, with rows that are read in this process."""
    listed = None if features is None else str(features)
    parts = with_cached_features(stage_module(config.stage).build(config), config, features=listed)
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    collective = Collective()
    state = build_state(
        parts.objective, training=config.training, collective=collective, device=device
    )
    files = open_run(run_folder(config), checkpoint_texts(config, parts), collective=collective)
    resume(state, files, collective=collective)
    data = config.data
    order = plan_order(
        parts.source,
        seed=config.run.seed,
        global_batch_size=config.training.global_batch_size,
        group_by_length=isinstance(data, ImageDataConfig) and data.group_by_length,
    )
    positions = rank_positions(
        order,
        rank=0,
        world=1,
        accumulation=1,
        start_step=state.step,
        num_steps=config.training.max_steps - state.step,
    )
    steps = read_steps(
        parts.source,
        positions,
        pad_id=parts.tokenizer.pad_id,
        image_size=parts.image_size,
        max_packed_length=data.max_packed_length if isinstance(data, ImageDataConfig) else None,
        feature_shape=parts.feature_shape,
    )
    settings = LoopSettings(
        training=config.training,
        device=device,
        seed=config.run.seed,
        num_rows=parts.source.num_rows,
        rows_per_epoch=order.rows_per_epoch,
        max_bad_fraction=config.data.max_bad_fraction,
    )
    validate = build_validation(
        parts,
        config.training,
        most_workers=1,
        max_bad_fraction=config.data.max_bad_fraction,
        device=CPU,
        collective=collective,
    )
    result = run_loop(
        state, steps, settings=settings, files=files, collective=collective, validate=validate
    )
    return Trained(parts, files.run_dir, before, result)


def changed_names(trained: Trained) -> set[str]:
    """Return the names of weights that differ from those before the first step."""
    after = {name: tensor.cpu() for name, tensor in trained.parts.model.state_dict().items()}
    return {name for name, tensor in trained.before.items() if not torch.equal(tensor, after[name])}
