"""Check data before it is trained on: a folder with data sets, or the data of one stage.

Source: DESIGN 4 (`phiray data check`) and 6.
Limits: looks at files only; whether captions are true to their images is not checked.
"""

from dataclasses import replace
from pathlib import Path

from phiray.config.data import ImageDataConfig, SplitConfig, TextDataConfig
from phiray.data.check.documents import check_documents
from phiray.data.check.images import ImageFiles, check_images
from phiray.data.check.report import CheckReport
from phiray.data.sources.annotations import existing_files
from phiray.data.sources.documents import TextSource
from phiray.errors import DataError, ExitCode
from phiray.storage import join, path_of
from phiray.types import Progress

TEXT_SOURCES: tuple[TextSource, ...] = ("gutenberg", "redpajama")


def check_data(
    target: Path | ImageDataConfig | TextDataConfig,
    *,
    is_partial: bool = False,
    progress: Progress | None = None,
) -> CheckReport:
    """Count what is there, and list what wants mending.

    Args:
        target: a folder with data sets in the layouts of the downloads, or the settings of data.
        is_partial: whether images that annotations name may be absent, as after a download of a
            part.
        progress: told of images and files.

    Raises:
        DataError: with exit code 66 if there is nothing to check.
    """
    report = CheckReport()
    if isinstance(target, TextDataConfig):
        check_documents(
            target.source, Path(target.root), report, split=target.split, progress=progress
        )
    elif isinstance(target, ImageDataConfig):
        files = replace(_files_of_config(target), is_partial=is_partial)
        check_images(files, report, progress=progress)
    else:
        _check_folder(target, report, is_partial=is_partial, progress=progress)
    return report


def _files_of_config(config: ImageDataConfig) -> ImageFiles:
    """Find the annotation files of a stage's settings; those of the other stage may be absent."""
    root = path_of(config.root)
    names = [*config.annotations, *config.conversations]
    existing_files(root, names, setting="data.annotations and data.conversations")
    return ImageFiles(
        images=join(root, config.images),
        captions=[file for name in config.annotations if (file := join(root, name)).is_file()],
        conversations=[
            file for name in config.conversations if (file := join(root, name)).is_file()
        ],
        split=config.split,
    )


def _check_folder(
    root: Path, report: CheckReport, *, is_partial: bool, progress: Progress | None
) -> None:
    """Check all data sets that lie below a folder."""
    split = SplitConfig()
    images = root / "coco" / "images"
    if images.is_dir():
        captions = sorted(root.glob("coco/annotations/captions_*.json"))
        conversations = sorted(root.glob("instruct/*.json"))
        files = ImageFiles(images, captions, conversations, split, is_partial)
        check_images(files, report, progress=progress)
    sources = [source for source in TEXT_SOURCES if (root / source).is_dir()]
    for source in sources:
        check_documents(source, root, report, split=split, progress=progress)
    if not report.counts:
        raise DataError(
            f"{root} holds no data set. Expected coco/images, gutenberg or redpajama in it. Give "
            "the folder that holds them, or a stage's config.",
            exit_code=ExitCode.MISSING_INPUT,
        )
