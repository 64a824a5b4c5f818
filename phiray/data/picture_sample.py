"""Look at a few pictures before a run starts: a damaged download is found now, not hours later.

Limits: a sample (`phiray/data/sampling.py` says what that means).
"""

from collections import Counter
from collections.abc import Sequence

from phiray.data.sampling import choose_sample, clearly_above
from phiray.data.sources.annotations import say_counts
from phiray.errors import DataError, ExitCode, exit_code_of
from phiray.images.decode import ImageError, check_image
from phiray.storage import AnyPath

SAMPLE_SIZE = 200
"""Pictures looked at: one to two seconds of decoding for COCO's."""


def check_pictures(paths: Sequence[AnyPath], *, max_bad_fraction: float) -> None:
    """Decode a sample of pictures, the same one each time, and stop if too many are bad.

    Args:
        paths: of all pictures, once each.
        max_bad_fraction: share (0..1) of them that may be bad.

    Raises:
        DataError: with the counts by reason and one of the files; 77 if most may not be read.
    """
    chosen = choose_sample(len(paths), at_most=SAMPLE_SIZE)
    size = len(chosen)
    bad = [(paths[i], *fault) for i in chosen if (fault := _fault(paths[i])) is not None]
    if clearly_above(len(bad), size=size, total=len(paths), max_fraction=max_bad_fraction):
        raise DataError(
            f"{len(bad)} of {size} pictures that were looked at cannot be used "
            f"({say_counts(Counter(reason for _, reason, _ in bad))}), e.g. {bad[0][0]}. At most "
            f"data.max_bad_fraction={max_bad_fraction} may be bad. `phiray data check` names all; "
            "mend or remove them.",
            exit_code=Counter(code for _, _, code in bad).most_common(1)[0][0],
        )


def _fault(path: AnyPath) -> tuple[str, ExitCode] | None:
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
