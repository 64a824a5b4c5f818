"""Named settings of all four stages: `tiny` for the built-in data, `phi-2` for the real thing.

Source: microsoft/phi-2 config.json for the sizes. LLaVA-1.5's scripts/v1_5/pretrain.sh and
TinyLLaVA's Phi-2 scripts for `align`; LLaVA's finetune_full_schedule.sh (the schedule that its
authors used on Instruct-158K alone) for `instruct`; LitGPT's pretrain defaults for text.
Limits: `phi-2` expects one GPU with 80 GB; the student project's own sizes are not a preset.
"""

from collections.abc import Callable

from phiray.config.data import ImageDataConfig, TextDataConfig
from phiray.config.messages import suggest
from phiray.config.model import MoeConfig, PhiConfig, ProjectorConfig, VisionConfig
from phiray.config.stages import (
    STAGES,
    AlignConfig,
    AnyStageConfig,
    InstructConfig,
    LitgptConfig,
    RunConfig,
    ScratchConfig,
)
from phiray.config.training import ClusterConfig, TrainingConfig
from phiray.errors import ConfigError, ExitCode

_TINY_ROOT = "phiray-demo/data"
_PHI2_ROOT = "data"
_PHI2_TOKENIZER = "tokenizer/phi-2"

TINY_TOWER_LAYERS = 4
TINY_TOWER_EMBED_DIM = 128
"""Sizes of the small CLIP of `tiny` that its settings do not name."""


def preset(name: str, stage: str) -> AnyStageConfig:
    """Return the settings of `stage` in the preset `name`.

    Raises:
        ConfigError: with exit code 2 if there is no such preset or stage.
    """
    if name not in _PRESETS:
        raise ConfigError(
            f"{name!r} is not a preset. It must be one of {', '.join(PRESETS)}."
            f"{suggest(name, PRESETS)}",
            exit_code=ExitCode.USAGE,
        )
    if stage not in STAGES:
        raise ConfigError(
            f"{stage!r} is not a stage. It must be one of {', '.join(STAGES)}."
            f"{suggest(stage, STAGES)}",
            exit_code=ExitCode.USAGE,
        )
    return _PRESETS[name][stage]()


def _tiny_model(*, moe: MoeConfig | None) -> PhiConfig:
    return PhiConfig(
        vocab_size=1280,  # a tokenizer of about 1,000 ids, and free rows as in Phi-2
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,  # what copying takes (arXiv 2209.11895)
        num_attention_heads=4,  # heads of 32 channels
        max_position_embeddings=128,
        partial_rotary_factor=0.5,  # Phi-2's 0.4 of 32 channels would not be even
        initializer_range=0.05,  # 0.02 is for 2,560 channels; here it learns far more slowly
        moe=moe,
    )


def _tiny_text_training() -> TrainingConfig:
    return TrainingConfig(
        global_batch_size=8,
        max_steps=700,
        learning_rate=5e-3,
        warmup_steps=20,
        weight_decay=0.1,
        checkpoint_every_steps=200,
    )


def _tiny_scratch() -> ScratchConfig:
    return ScratchConfig(
        data=TextDataConfig(root=_TINY_ROOT, source="gutenberg"),
        model=_tiny_model(
            moe=MoeConfig(num_experts=4, num_experts_per_token=2, intermediate_size=128)
        ),
        training=_tiny_text_training(),
    )


def _tiny_litgpt() -> LitgptConfig:
    return LitgptConfig(
        data=TextDataConfig(root=_TINY_ROOT, source="redpajama"),
        model=_tiny_model(moe=None),
        training=_tiny_text_training(),
    )


def _tiny_images() -> ImageDataConfig:
    return ImageDataConfig(
        root=_TINY_ROOT,
        annotations=["coco/annotations/captions_train2017.json"],
        conversations=["instruct/world_conversations.json"],
        system_prompt="",  # the small model would spend its rows on it
    )


def _tiny_align() -> AlignConfig:
    return AlignConfig(
        data=_tiny_images(),
        vision=VisionConfig(
            model="custom",
            weights="phiray-demo/clip",
            image_size=64,
            patch_size=16,
            hidden_size=128,
        ),
        projector=ProjectorConfig(kind="mlp"),
        training=TrainingConfig(
            global_batch_size=32,
            max_steps=500,
            learning_rate=1e-2,  # of the projector alone; half of it gave half the CIDEr-D
            warmup_steps=20,
            checkpoint_every_steps=200,
        ),
    )


def _tiny_instruct() -> InstructConfig:
    return InstructConfig(
        data=_tiny_images(),
        training=TrainingConfig(
            global_batch_size=32,
            max_steps=150,
            learning_rate=2e-3,
            warmup_steps=20,
            checkpoint_every_steps=100,
        ),
    )


def _phi2_text_training() -> TrainingConfig:
    """Follow LitGPT's pretraining as the student project ran it, for both language models."""
    return TrainingConfig(
        global_batch_size=32,
        gradient_accumulation_steps=32,  # one row of 2,048 tokens at a time on one GPU
        max_steps=15_000,
        learning_rate=6e-4,
        min_learning_rate_fraction=0.01,
        warmup_steps=2000,
        weight_decay=0.1,
        beta1=0.9,
        beta2=0.95,
        max_grad_norm=1.0,
        precision="bf16",
        checkpoint_every_steps=500,
    )


def _phi2_scratch() -> ScratchConfig:
    # 32 x 4 experts of 640 add 0.4 billion weights: with Phi-2's 2.8 billion at 16 bytes each
    # (fp32 weight, gradient, two moments) 51 GB, which leaves room for activations on 80 GB.
    # 4 experts, 2 per token and the coefficient 0.01 are MoE-LLaVA's for Phi-2.
    experts = MoeConfig(num_experts=4, num_experts_per_token=2, intermediate_size=640)
    return ScratchConfig(
        run=RunConfig(name="scratch-phi-2"),
        data=TextDataConfig(
            root=_PHI2_ROOT, source="gutenberg", tokenizer=_PHI2_TOKENIZER, sequence_length=2048
        ),
        model=PhiConfig(moe=experts),
        training=_phi2_text_training(),
        cluster=ClusterConfig(use_gpu=True),
    )


def _phi2_litgpt() -> LitgptConfig:
    return LitgptConfig(
        run=RunConfig(name="litgpt-phi-2"),
        data=TextDataConfig(
            root=_PHI2_ROOT, source="redpajama", tokenizer=_PHI2_TOKENIZER, sequence_length=2048
        ),
        model=PhiConfig(),
        training=_phi2_text_training(),
        cluster=ClusterConfig(use_gpu=True),
    )


def _phi2_images() -> ImageDataConfig:
    return ImageDataConfig(
        root=_PHI2_ROOT,
        annotations=["coco/annotations/captions_train2017.json"],
        conversations=["instruct/llava_instruct_150k.json"],
        tokenizer=_PHI2_TOKENIZER,
        max_length=2048,
        max_images=40_000,
    )


def _phi2_align() -> AlignConfig:
    return AlignConfig(
        run=RunConfig(name="align-phi-2"),
        data=_phi2_images(),
        language_model="models/phi-2",  # a download of microsoft/phi-2
        vision=VisionConfig(),  # ViT-B/32, 49 patches; its own `quickgelu` form
        projector=ProjectorConfig(kind="mlp"),
        training=TrainingConfig(
            global_batch_size=256,
            gradient_accumulation_steps=8,
            max_steps=780,  # 5 captions x 40,000 images / 256: every caption once
            learning_rate=1e-3,
            min_learning_rate_fraction=0.0,
            warmup_steps=24,  # 3 %
            beta2=0.999,  # the default of transformers' trainer, which LLaVA keeps
            precision="bf16",
            checkpoint_every_steps=100,
        ),
        cluster=ClusterConfig(use_gpu=True),
    )


def _phi2_instruct() -> InstructConfig:
    return InstructConfig(
        run=RunConfig(name="instruct-phi-2"),
        data=_phi2_images(),
        checkpoint="runs/align-phi-2",
        training=TrainingConfig(
            global_batch_size=128,
            gradient_accumulation_steps=16,
            max_steps=1830,  # 3 epochs of about 78,000 conversations (1.95 per image) / 128
            learning_rate=2e-5,
            min_learning_rate_fraction=0.0,
            warmup_steps=55,  # 3 %
            beta2=0.999,
            precision="bf16",
            checkpoint_every_steps=200,
        ),
        cluster=ClusterConfig(use_gpu=True),
    )


_PRESETS: dict[str, dict[str, Callable[[], AnyStageConfig]]] = {
    "tiny": {
        "scratch": _tiny_scratch,
        "litgpt": _tiny_litgpt,
        "align": _tiny_align,
        "instruct": _tiny_instruct,
    },
    "phi-2": {
        "scratch": _phi2_scratch,
        "litgpt": _phi2_litgpt,
        "align": _phi2_align,
        "instruct": _phi2_instruct,
    },
}
PRESETS = tuple(_PRESETS)
