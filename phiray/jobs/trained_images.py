"""Sign what a run trains on before it starts, and keep that for its checkpoints.

    text = sign_trained_images(config, data, progress=...)   # before the run's folder is made
    keep_trained_images(run_dir, text)                       # once it is there
    carried_images(run_dir)                                  # on a worker: texts of a checkpoint

Source: DESIGN 6 and 13: evaluation refuses what was trained on, whatever it is called.
Limits: runs at their first start alone; a resumed run has the list, and the same images.
"""

from pathlib import Path

from phiray.checkpoints.files import error_from_write, write_text
from phiray.config.data import ImageDataConfig
from phiray.config.stages import AnyStageConfig, InstructConfig
from phiray.data.signed_images import SignedImages, merge_signed, sign_images
from phiray.stages.parts import TRAINED_IMAGES_FILE, PreparedData
from phiray.types import Progress


def sign_trained_images(
    pinned: AnyStageConfig, data: PreparedData, *, progress: Progress | None
) -> str | None:
    """Decode all images of the training part; return what checkpoints carry of them.

    Args:
        pinned: the stage's settings, with the checkpoint that it starts from.
        data: what was prepared.
        progress: told of the images.

    Returns:
        JSON, with the images of the checkpoint that the run starts from; None for text, or where
        `data.sign_images` is false.

    Raises:
        DataError: if more of them are bad than may be.
    """
    config = pinned.data
    if not isinstance(config, ImageDataConfig) or not config.sign_images:
        return None
    signed = sign_images(data.images, max_bad_fraction=config.max_bad_fraction, progress=progress)
    if isinstance(pinned, InstructConfig):
        before = Path(pinned.checkpoint) / TRAINED_IMAGES_FILE
        if before.is_file():
            signed = merge_signed(signed, SignedImages.from_json(before.read_text()))
    return signed.to_json()


def keep_trained_images(run_dir: Path, text: str | None) -> None:
    """Write the list into the run's folder.

    Raises:
        CheckpointError: if it cannot be written (74, 77).
    """
    if text is None:
        return
    path = run_dir / TRAINED_IMAGES_FILE
    try:
        write_text(path, text)
    except OSError as error:
        raise error_from_write(error, what="The list of trained images", path=path) from error


def carried_images(run_dir: Path) -> dict[str, str]:
    """Return what each checkpoint of a run carries of its images, by file name."""
    path = run_dir / TRAINED_IMAGES_FILE
    return {TRAINED_IMAGES_FILE: path.read_text()} if path.is_file() else {}
