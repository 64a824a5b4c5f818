"""The settings of each stage: a tagged union over `stage`.

Source: LLaVA's two stages (arXiv 2304.08485) after a language model of one's own; the union is
pydantic's (`discriminator`).
Limits: a stage names the checkpoint of the one before by its path; nothing is guessed.
"""

import re
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import Field, TypeAdapter, field_validator, model_validator

from phiray.config.base import Config
from phiray.config.data import ImageDataConfig, TextDataConfig, longest_row, padded_length
from phiray.config.model import PhiConfig, ProjectorConfig, VisionConfig
from phiray.config.training import ClusterConfig, MethodConfig, StandardMethod, TrainingConfig
from phiray.storage import is_url

_ROOM_FOR_TEXT = 128
"""Tokens beside the image that a message suggests; COCO's captions take less than half."""
_LARGEST_SEED = 2**63 - 1
"""torch takes 64 bits, and fails on more with a message that names no setting."""
_LONGEST_NAME = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST_NAME - 1}}}")
ATTEMPT = ".attempt-"
"""Ray takes a submission id once: a job that ended without success goes on as the next attempt."""
RESERVED_NAMES = ("blank", "shuffled", "constant", "untrained", "unigram")
"""Rows of a report beside the runs: a run of such a name would stand in for its own baseline."""


class RunConfig(Config):
    """The identity of a run: `output_dir/name` is its folder."""

    name: str
    """Folder name of the run: letters, digits, '.', '_' and '-'."""
    output_dir: str = Field(default="runs", min_length=1)
    """Folder that holds the runs."""
    seed: int = Field(default=0, ge=0, le=_LARGEST_SEED)
    """Seed of weights, row order and sampling."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name for a folder. It must be 1 to {_LONGEST_NAME} letters, "
                "digits, '.', '_' and '-', with a letter or digit first. Choose another."
            )
        if ATTEMPT in name:
            raise ValueError(
                f"{name!r} holds {ATTEMPT!r}, by which jobs of one run are told apart on a "
                "cluster. It must not. Choose another."
            )
        if name in RESERVED_NAMES:
            raise ValueError(
                f"{name!r} is the name of a row that every report has. It must be none of "
                f"{', '.join(RESERVED_NAMES)}. Choose another."
            )
        return name

    @field_validator("output_dir")
    @classmethod
    def _check_output_dir(cls, place: str) -> str:
        if is_url(place):
            raise ValueError(
                f"{place!r} is a URL. Runs are written to a folder. Mount the storage, and give "
                "the path."
            )
        return place


StageT = TypeVar("StageT", "ScratchConfig", "LitgptConfig", "AlignConfig", "InstructConfig")


def _refuse_bf16_on_cpu(config: StageT) -> StageT:
    if config.training.precision == "bf16" and not config.cluster.use_gpu:
        raise ValueError(
            "training.precision is bf16, but cluster.use_gpu is false. bf16 is for GPUs: on most "
            "CPUs it is many times slower. Set training.precision=fp32, or cluster.use_gpu=true."
        )
    return config


class ScratchConfig(Config):
    """Pretrain Phi with a mixture of experts from random weights."""

    stage: Literal["scratch"] = "scratch"
    """This stage's name."""
    run: RunConfig = RunConfig(name="scratch")
    """Name, place and seed."""
    data: TextDataConfig = TextDataConfig(source="gutenberg")
    """Documents."""
    model: PhiConfig = PhiConfig()
    """Architecture."""
    training: TrainingConfig = TrainingConfig()
    """Optimisation."""
    cluster: ClusterConfig = ClusterConfig()
    """Workers."""

    _check_precision = model_validator(mode="after")(_refuse_bf16_on_cpu)

    @model_validator(mode="after")
    def _check_length(self) -> "ScratchConfig":
        _check_sequence_length(self.data, self.model)
        return self


class LitgptConfig(Config):
    """Pretrain the same architecture through LitGPT."""

    stage: Literal["litgpt"] = "litgpt"
    """This stage's name."""
    run: RunConfig = RunConfig(name="litgpt")
    """Name, place and seed."""
    data: TextDataConfig = TextDataConfig(source="redpajama")
    """Documents."""
    model: PhiConfig = PhiConfig()
    """Architecture; LitGPT's Phi-2 is dense, so `moe` must be none."""
    training: TrainingConfig = TrainingConfig()
    """Optimisation."""
    cluster: ClusterConfig = ClusterConfig()
    """Workers."""

    _check_precision = model_validator(mode="after")(_refuse_bf16_on_cpu)

    @model_validator(mode="after")
    def _check_model(self) -> "LitgptConfig":
        _check_sequence_length(self.data, self.model)
        if self.model.moe is not None:
            raise ValueError(
                "model.moe is set, but LitGPT's Phi-2 is dense. Set model.moe=null, or train the "
                "stage `scratch`."
            )
        return self


class AlignConfig(Config):
    """Train only the projector, between a frozen CLIP and a frozen language model."""

    stage: Literal["align"] = "align"
    """This stage's name."""
    run: RunConfig = RunConfig(name="align")
    """Name, place and seed."""
    data: ImageDataConfig = ImageDataConfig()
    """Images and captions."""
    language_model: str = "runs/scratch"
    """A run or checkpoint of `scratch` or `litgpt`, or a Hugging Face folder of Phi."""
    vision: VisionConfig = VisionConfig()
    """The frozen tower."""
    projector: ProjectorConfig = ProjectorConfig()
    """What is trained."""
    method: MethodConfig = StandardMethod()
    """`standard` or `scheduled-sampling`."""
    training: TrainingConfig = TrainingConfig()
    """Optimisation."""
    cluster: ClusterConfig = ClusterConfig()
    """Workers."""

    _check_precision = model_validator(mode="after")(_refuse_bf16_on_cpu)

    @model_validator(mode="after")
    def _check_weights(self) -> "AlignConfig":
        if self.data.weights:
            raise ValueError(
                "data.weights is set, but weighs files of conversations, and `align` learns "
                "captions, which are joined by their image. Leave it out, or train `instruct`."
            )
        return self

    @model_validator(mode="after")
    def _check_image_fits(self) -> "AlignConfig":
        fault = image_length_fault(self.data, self.vision, tower="vision")
        if fault is not None:
            raise ValueError(fault)
        return self


class InstructConfig(Config):
    """Train language model and projector on conversations; CLIP stays frozen."""

    stage: Literal["instruct"] = "instruct"
    """This stage's name."""
    run: RunConfig = RunConfig(name="instruct")
    """Name, place and seed."""
    data: ImageDataConfig = ImageDataConfig()
    """Images and conversations."""
    checkpoint: str = "runs/align"
    """A run or checkpoint of `align`: language model, tower and projector come from there."""
    method: MethodConfig = StandardMethod()
    """`standard` or `scheduled-sampling`."""
    training: TrainingConfig = TrainingConfig()
    """Optimisation."""
    cluster: ClusterConfig = ClusterConfig()
    """Workers."""

    _check_precision = model_validator(mode="after")(_refuse_bf16_on_cpu)


AnyStageConfig = ScratchConfig | LitgptConfig | AlignConfig | InstructConfig
"""The settings of whichever stage."""
StageConfig = Annotated[AnyStageConfig, Field(discriminator="stage")]
STAGE_ADAPTER: TypeAdapter[AnyStageConfig] = TypeAdapter(StageConfig)
STAGE_CLASSES: dict[str, type[AnyStageConfig]] = {
    cls.model_fields["stage"].default: cls for cls in get_args(AnyStageConfig)
}
STAGES = tuple(STAGE_CLASSES)


def image_length_fault(data: ImageDataConfig, vision: VisionConfig, *, tower: str) -> str | None:
    """Say why no row could hold one image and a token of text; None if rows can.

    Args:
        data: its `max_length` is the longest row.
        vision: the tower; a patch takes one position.
        tower: the setting that chooses the tower, and its value where that is a path.
    """
    if vision.num_patches < data.max_length:
        return None
    return (
        f"data.max_length is {data.max_length}, but an image alone takes {vision.num_patches} "
        f"positions ({tower}: image_size {vision.image_size}, patch_size {vision.patch_size}, "
        f"pooling {vision.pooling}). A row must hold them and at least one token of text. Raise "
        f"the first, e.g. --set data.max_length={vision.num_patches + _ROOM_FOR_TEXT}, average "
        "neighbouring patches by a larger vision.pooling of `align`, or take a tower with fewer."
    )


def _check_sequence_length(data: TextDataConfig, model: PhiConfig) -> None:
    if padded_length(data.sequence_length) > model.max_position_embeddings:
        raise ValueError(
            f"data.sequence_length is {data.sequence_length}, but model.max_position_embeddings "
            f"is {model.max_position_embeddings}, which holds rows of at most "
            f"{longest_row(model.max_position_embeddings)} tokens. Lower the first or raise the "
            "second."
        )
