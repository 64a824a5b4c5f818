"""What all trials of a search learn from: the same data and models, or they do not compare.

Source: a run guards the same in its own manifest; a trial that has not begun has none yet.
Limits: looked at when a search starts or goes on, not between two of its trials.
"""

import json
from collections.abc import Callable
from pathlib import Path

from phiray.checkpoints.files import write_json
from phiray.config.stages import AnyStageConfig
from phiray.errors import CheckpointError
from phiray.jobs.features import identify_features, prepare_here
from phiray.stages.pinned import identify_models, pin_models
from phiray.types import Progress

INPUTS_FILE = "inputs.json"


def check_inputs(
    config: AnyStageConfig,
    folder: Path,
    *,
    progress: Progress | None,
    note: Callable[[str], None] | None = None,
) -> None:
    """Look at all inputs before Ray starts, and see that they are those of the trials before.

    Args:
        config: of trial 0.
        folder: of the search.
        progress: told of what takes long.
        note: told what a cache of features will take.

    Raises:
        CheckpointError: if data or models are others than when the search began.
        PhirayError: of what is wrong with the inputs themselves.
    """
    data = prepare_here(config, progress=progress, note=note)
    models = identify_models(pin_models(config), progress=progress) | identify_features(data)
    found = {"data": data.fingerprint, **models}
    path = folder / INPUTS_FILE
    if not path.is_file():
        write_json(path, found)
        return
    stored = json.loads(path.read_text(encoding="utf-8"))
    changed = [key for key in {**stored, **found} if stored.get(key) != found.get(key)]
    if changed:
        raise CheckpointError(
            f"{' and '.join(changed)} of {folder} changed since it began: trials that learn from "
            "others cannot be compared. Put the old ones back, or search anew under another "
            "run.name."
        )
