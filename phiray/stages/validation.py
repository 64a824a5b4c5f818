"""Join a stage's validation rows with what measures a model on them.

Source: held-out rows may not choose anything; a part of their own does (`data.split`).
Limits: read once, before the first step, and held in memory: `training.max_validation_rows`.
"""

import numpy as np
import torch

from phiray.config.training import TrainingConfig
from phiray.data.batches import read_batch
from phiray.data.sampling import choose_sample
from phiray.stages.parts import StageParts
from phiray.training.collective import Collective
from phiray.training.loop import Validate
from phiray.training.step import StepSettings
from phiray.training.validation import Validation


def build_validation(
    parts: StageParts,
    training: TrainingConfig,
    *,
    most_workers: int,
    device: torch.device,
    collective: Collective,
) -> Validate | None:
    """Read this worker's share of the validation rows, in micro-batches of the training's size.

    Which rows are measured depends on neither the seed nor the number of workers.

    Returns:
        None if the settings keep no validation part.
    """
    if parts.validation is None:
        return None
    chosen = choose_sample(parts.validation.num_rows, at_most=training.max_validation_rows)
    own = np.array(chosen[collective.rank :: collective.world_size], dtype=np.int64)  # (rows,)
    num_shares = training.gradient_accumulation_steps * most_workers
    size = -(-training.global_batch_size // num_shares)
    batches = [
        read_batch(
            parts.validation,
            own[start : start + size],
            pad_id=parts.tokenizer.pad_id,
            image_size=parts.image_size,
        )
        for start in range(0, len(own), size)
    ]
    settings = StepSettings(training.max_grad_norm, training.precision, device)
    return Validation(batches, settings=settings, collective=collective).measure
