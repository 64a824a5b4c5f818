"""Look at a few pictures before a run starts: a damaged download is found now, not hours later.

Source: the rule of three standard deviations for a Poisson count.
Limits: a sample, so a share slightly above the limit passes; the run itself then counts on.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phiray.data.annotations import say_counts
from phiray.errors import DataError, ExitCode, exit_code_of
from phiray.images.decode import ImageError, check_image

SAMPLE_SIZE = 200
"""Pictures looked at: one to two seconds of decoding for COCO's."""


def check_pictures(paths: Sequence[Path], *, max_bad_fraction: float) -> None:
    """Decode a sample of pictures, the same one each time, and stop if too many are bad.

    Args:
        paths: of all pictures, once each.
        max_bad_fraction: share (0..1) of them that may be bad.

    Raises:
        DataError: with the counts by reason and one of the files; 77 if most may not be read.
    """
    size = min(SAMPLE_SIZE, len(paths))
    chosen = np.random.default_rng(0).choice(len(paths), size, replace=False)
    bad = [(paths[i], *fault) for i in chosen if (fault := _fault(paths[i])) is not None]
    doubt = 0.0 if size == len(paths) else 3 * math.sqrt(len(bad))
    if len(bad) - doubt > max_bad_fraction * size:
        raise DataError(
            f"{len(bad)} of {size} pictures that were looked at cannot be used "
            f"({say_counts(Counter(reason for _, reason, _ in bad))}), e.g. {bad[0][0]}. At most "
            f"data.max_bad_fraction={max_bad_fraction} may be bad. `phiray data check` names all; "
            "mend or remove them.",
            exit_code=Counter(code for _, _, code in bad).most_common(1)[0][0],
        )


def _fault(path: Path) -> tuple[str, ExitCode] | None:
    """Return what is wrong with a picture, and the exit code if most are like it."""
    try:
        check_image(path.read_bytes())
    except ImageError as error:
        return error.reason, ExitCode.BAD_DATA
    except FileNotFoundError:
        return "missing image", ExitCode.BAD_DATA
    except OSError as error:
        return f"unreadable image ({error.strerror})", exit_code_of(error) or ExitCode.BAD_DATA
    return None
