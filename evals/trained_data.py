"""Find out whether the data at a run's place is still what the run was trained on.

Source: the run's manifest, which each checkpoint carries, holds the fingerprint of training rows.
Limits: covers texts, ids, settings and sizes of pictures of the rows that the run learnt from: not
their pixels, nor the second data set that `lm` scores.
"""

import json
from pathlib import Path

from phiray.config.stages import AlignConfig, InstructConfig
from phiray.data.image_sets import caption_rows, conversation_rows
from phiray.data.prepare.text import plan_text
from phiray.data.rows import training_fingerprint_of
from phiray.errors import DataError
from phiray.stages.parts import CARRIED_MANIFEST_FILE
from phiray.stages.restore import LoadedModel
from phiray.types import Progress

_SHOWN_DIGITS = 12
"""Of a fingerprint, enough to tell two apart."""


def check_trained_data(
    loaded: LoadedModel, *, is_given: bool, progress: Progress | None = None
) -> list[str]:
    """Compare the data with what the run recorded when it was trained.

    Args:
        loaded: the model with the settings that it is evaluated with.
        is_given: whether the place of the data was named for this evaluation.
        progress: told of the reading.

    Returns:
        Notes for the reader; none if the data is the same, or nothing was recorded.

    Raises:
        DataError: if it is other data, and nobody asked for that.
    """
    recorded = recorded_fingerprint(loaded.checkpoint_path)
    if recorded is None:
        return []
    name, root = loaded.config.run.name, loaded.config.data.root
    try:
        found = training_fingerprint(loaded, progress=progress)
    except DataError:
        return [
            f"Whether {name} was trained on the data that was scored could not be checked: the "
            "rows that it was trained on cannot be read there."
        ]
    if found == recorded:
        return []
    if is_given:
        return [
            f"{name} was scored on other data than it was trained on: the data was chosen with "
            "--data, and gives other training rows than the run recorded."
        ]
    raise DataError(
        f"{root} does not hold the data that {name} was trained on: its training rows have the "
        f"fingerprint {found[:_SHOWN_DIGITS]}. Expected {recorded[:_SHOWN_DIGITS]}, which the run "
        "recorded. Name the place of that data with --data DIR, or score this data on purpose with "
        f"--data {root}; the result then says so."
    )


def recorded_fingerprint(checkpoint: Path) -> str | None:
    """Return that of the training rows, which a checkpoint carries; None if there is none."""
    try:
        manifest = json.loads((checkpoint / CARRIED_MANIFEST_FILE).read_bytes())
        fingerprint = manifest["data"]["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return training_fingerprint_of(fingerprint) if isinstance(fingerprint, str) else None


def training_fingerprint(loaded: LoadedModel, *, progress: Progress | None = None) -> str:
    """Return the fingerprint of the rows that the run would be trained on now.

    Raises:
        DataError: if they cannot be read.
    """
    config, vision = loaded.config, loaded.description.vision
    if not isinstance(config, AlignConfig | InstructConfig):
        return plan_text(config.data, progress=progress).fingerprint
    assert vision is not None
    if isinstance(config, AlignConfig):
        return caption_rows(
            config.data, num_patches=vision.num_patches, seed=config.run.seed, progress=progress
        ).fingerprint
    return conversation_rows(
        config.data,
        num_patches=vision.num_patches,
        seed=config.run.seed,
        progress=progress,
    ).fingerprint
