"""Join a stage's validation rows with what measures a model on them.

Source: held-out rows may not choose anything; a part of their own does (`data.split`).
Limits: read once, before the first step, and held in memory: `training.max_validation_rows`.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from phiray.batch import Batch
from phiray.config.training import TrainingConfig
from phiray.data.batches import read_batch
from phiray.data.sampling import choose_sample
from phiray.data.sources.annotations import say_counts
from phiray.errors import DataError
from phiray.stages.parts import StageParts
from phiray.training.collective import Collective
from phiray.training.loop import Validate
from phiray.training.step import StepSettings
from phiray.training.validation import Validation
from phiray.types import BadRow


def build_validation(
    parts: StageParts,
    training: TrainingConfig,
    *,
    most_workers: int,
    max_bad_fraction: float,
    device: torch.device,
    collective: Collective,
) -> Validate | None:
    """Read this worker's share of the validation rows, in micro-batches of the training's size.

    Which rows are measured depends on neither the seed nor the number of workers.

    Returns:
        None if the settings keep no validation part.

    Raises:
        DataError: if more than `max_bad_fraction` of the rows cannot be read.
    """
    if parts.validation is None:
        return None
    chosen = choose_sample(parts.validation.num_rows, at_most=training.max_validation_rows)
    own = np.array(chosen[collective.rank :: collective.world_size], dtype=np.int64)  # (rows,)
    num_shares = training.gradient_accumulation_steps * most_workers
    size = -(-training.global_batch_size // num_shares)
    batches: list[Batch] = []
    bad_rows: list[BadRow] = []
    for start in range(0, len(own), size):
        batch, bad = read_batch(
            parts.validation,
            own[start : start + size],
            pad_id=parts.tokenizer.pad_id,
            image_size=parts.image_size,
            feature_shape=parts.feature_shape,
        )
        batches.append(batch)
        bad_rows += bad
    check_bad_rows(
        [row for rows in collective.gather(bad_rows) for row in rows],
        num_rows=len(chosen),
        max_bad_fraction=max_bad_fraction,
    )
    settings = StepSettings(training.max_grad_norm, training.precision, device)
    return Validation(batches, settings=settings, collective=collective).measure


def check_bad_rows(bad_rows: Sequence[BadRow], *, num_rows: int, max_bad_fraction: float) -> None:
    """Stop where too many rows cannot be read: what is measured would be another set.

    Raises:
        DataError: with the count of each reason.
    """
    if len(bad_rows) <= max_bad_fraction * num_rows:
        return
    first = bad_rows[0]
    raise DataError(
        f"{len(bad_rows)} of {num_rows} rows of the validation part could not be read "
        f"({say_counts(Counter(row.reason for row in bad_rows))}), for one: {first.detail}. At "
        f"most data.max_bad_fraction={max_bad_fraction} of them may be bad. Mend the data: "
        "`phiray data check` lists what is wrong."
    )
