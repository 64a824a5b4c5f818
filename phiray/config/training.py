"""Settings of training: batch, optimizer, schedule, precision, method, checkpoints, workers.

Source: hyper-parameters of LLaVA-1.5 and of Phi-2 peers (README of each preset names its own).
Limits: one optimizer (AdamW) and one schedule (warm-up, then cosine).
"""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from phiray.config.base import Config

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_NAME = re.compile(rf"(?:{_WORD}/)?{_WORD}")
_LABEL_VALUE = re.compile(_WORD)
"""Of the label syntax of Kubernetes, which Ray takes over, the plain values."""


class TrainingConfig(Config):
    """One stage's optimisation."""

    global_batch_size: int = Field(default=32, ge=1)
    """Rows in one optimizer step, over all workers and micro-batches. Fixed for a run, so that
    losses do not depend on how many workers there are."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Micro-batches per optimizer step on each worker. Raise it when memory is short."""
    max_steps: int = Field(default=100, ge=1)
    """Optimizer steps of the whole run."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Highest learning rate, reached after the warm-up."""
    min_learning_rate_fraction: float = Field(default=0.1, ge=0, le=1)
    """Share (0..1) of the learning rate that the cosine ends at."""
    warmup_steps: int = Field(default=10, ge=0)
    """Steps of linear warm-up."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW weight decay, on matrices only (not on biases, norms and embeddings)."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW: decay of the gradient's mean."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """AdamW: decay of the gradient's square (0.95 as in GPT-3)."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` runs products in bfloat16 under autocast, with fp32 weights. GPUs only: on most CPUs
    it is many times slower."""
    checkpoint_every_steps: int = Field(default=100, ge=1)
    """A committed checkpoint each so many steps, and one at the end."""
    max_validation_rows: int = Field(default=256, ge=1)
    """Rows, of the validation part, that are measured at each checkpoint; see
    data.split.validation_fraction."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Older checkpoints beyond this number are deleted."""
    log_row_ids: bool = False
    """Write the row ids of each step into metrics.jsonl: proof of what was learnt from."""

    @model_validator(mode="after")
    def _check_steps(self) -> "TrainingConfig":
        if self.warmup_steps >= self.max_steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}, but max_steps is {self.max_steps}: the "
                "learning rate would never leave the warm-up. Lower warmup_steps."
            )
        return self

    @model_validator(mode="after")
    def _check_accumulation(self) -> "TrainingConfig":
        if self.gradient_accumulation_steps > self.global_batch_size:
            raise ValueError(
                f"gradient_accumulation_steps is {self.gradient_accumulation_steps}, but "
                f"global_batch_size is {self.global_batch_size}: some micro-batches would hold no "
                "row. Lower the first, or raise the second."
            )
        return self


class StandardMethod(Config):
    """One teacher-forced forward: every input token is the gold one."""

    kind: Literal["standard"] = "standard"
    """This method's name."""


class ScheduledSamplingMethod(Config):
    """Inputs mix gold tokens and the model's own; targets stay gold (arXiv 1506.03099)."""

    kind: Literal["scheduled-sampling", "autoregressive"] = "scheduled-sampling"
    """This method's name; `autoregressive` is the student project's word for it."""
    rollout: Literal["exact", "parallel"] = "parallel"
    """`exact`: token by token with a cache. `parallel`: whole passes (arXiv 1906.04331)."""
    num_passes: int = Field(default=1, ge=1)
    """Passes of the parallel rollout; as many as tokens give the exact one."""
    schedule: Literal["linear", "exponential", "inverse-sigmoid"] = "linear"
    """How the probability of a gold token falls from `start` to `end`."""
    start: float = Field(default=1.0, ge=0, le=1)
    """Probability (0..1) of a gold token at step 0."""
    end: float = Field(default=0.5, ge=0, le=1)
    """Probability (0..1) of a gold token at the last step."""

    @model_validator(mode="after")
    def _check_passes(self) -> "ScheduledSamplingMethod":
        if self.rollout == "exact" and self.num_passes > 1:
            raise ValueError(
                f"num_passes is {self.num_passes}, but rollout is exact, which goes token by token "
                "and makes no passes. Leave num_passes out, or take rollout=parallel."
            )
        return self

    @model_validator(mode="after")
    def _check_schedule(self) -> "ScheduledSamplingMethod":
        if self.end > self.start:
            raise ValueError(
                f"end is {self.end}, above start ({self.start}). The probability of a gold token "
                "must fall or stay. Swap them."
            )
        if self.schedule == "exponential" and self.end == 0 and self.start > 0:
            raise ValueError(
                "end is 0 with the exponential schedule, which is then dead after step 0: "
                "start * (0 / start) ** (step / steps) is 0 from step 1 on. Give an end above 0, "
                "e.g. end=0.05, or take schedule=linear."
            )
        return self


MethodConfig = Annotated[StandardMethod | ScheduledSamplingMethod, Field(discriminator="kind")]


class ClusterConfig(Config):
    """What the run asks of Ray."""

    workers: int = Field(default=1, ge=1)
    """Training processes; of an elastic run, the fewest that it goes on with."""
    max_workers: int | None = Field(default=None, ge=1)
    """Makes a run elastic: it takes as many workers as there is room for, up to so many, and goes
    on from its newest checkpoint when a node comes or goes. None fixes their number."""
    use_gpu: bool = False
    """Give each worker one GPU."""
    cpus_per_worker: int | None = Field(default=None, ge=1)
    """CPU threads of one worker; none shares the cores of the machine evenly."""
    max_failures: int = Field(default=3, ge=0)
    """Restarts after a worker died, from the newest committed checkpoint. Those after a node was
    drained, as spot nodes are, are not counted: the run answers the notice with a checkpoint, and
    goes on when the node's time is over."""
    worker_labels: dict[str, str] = Field(default={})
    """Labels of the nodes that may train, such as {phiray/role: train} or
    {ray.io/accelerator-type: A100}. On a cluster only; none takes any node that has room."""
    reader_labels: dict[str, str] = Field(default={})
    """Labels of the nodes that readers run on, such as {phiray/role: decode}; each reader reserves
    a CPU there, and decodes unless data.decode is `worker`. On a cluster only; none lets them run
    beside their worker, in its share."""

    @property
    def most_workers(self) -> int:
        """As many workers as there may be."""
        return self.max_workers or self.workers

    @field_validator("worker_labels", "reader_labels")
    @classmethod
    def _check_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name, value in labels.items():
            if not (_LABEL_NAME.fullmatch(name) and _LABEL_VALUE.fullmatch(value)):
                raise ValueError(
                    f"{name!r}: {value!r} is no label of a node. Name and value must be letters, "
                    "digits, '-', '_' and '.', at most 63, with a letter or digit at both ends; a "
                    "name may have such a word and '/' before it. Correct it."
                )
        return labels

    @model_validator(mode="after")
    def _check_elastic_labels(self) -> "ClusterConfig":
        if self.worker_labels and self.max_workers is not None and not self.use_gpu:
            raise ValueError(
                "worker_labels and max_workers are set, and use_gpu is false: Ray 2.60 counts how "
                "many workers an elastic run has room for by CPUs alone, whatever labels their "
                "nodes have, and would ask for workers that never start. Leave out one of them."
            )
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> "ClusterConfig":
        if self.most_workers < self.workers:
            raise ValueError(
                f"max_workers is {self.max_workers}, but workers is {self.workers}: the fewest "
                "would be more than the most. Swap them."
            )
        return self
