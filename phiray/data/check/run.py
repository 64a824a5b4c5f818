"""Check data before it is trained on: a folder with data sets, or the data of one stage.

Source: DESIGN 4 (`phiray data check`) and 6.
Limits: looks at files only; whether captions are true to their images is not checked.
"""

import hashlib
from pathlib import Path

from phiray.config.data import ImageDataConfig, SplitConfig, TextDataConfig
from phiray.data.check.images import ImageFiles, check_images
from phiray.data.check.report import CheckReport
from phiray.data.sources.annotations import existing_files
from phiray.data.sources.documents import TextSource, iter_documents, source_files
from phiray.data.sources.records import BadDocument
from phiray.data.split import is_heldout
from phiray.errors import DataError, ExitCode
from phiray.storage import join, path_of
from phiray.types import Progress

TEXT_SOURCES: tuple[TextSource, ...] = ("gutenberg", "redpajama")


def check_data(
    target: Path | ImageDataConfig | TextDataConfig, *, progress: Progress | None = None
) -> CheckReport:
    """Count what is there, and list what wants mending.

    Args:
        target: a folder with data sets in the layouts of the downloads, or the settings of data.
        progress: told of images and files.

    Raises:
        DataError: with exit code 66 if there is nothing to check.
    """
    report = CheckReport()
    if isinstance(target, TextDataConfig):
        _check_text(target.source, Path(target.root), report, split=target.split, progress=progress)
    elif isinstance(target, ImageDataConfig):
        check_images(_files_of_config(target), report, progress=progress)
    else:
        _check_folder(target, report, progress=progress)
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


def _check_folder(root: Path, report: CheckReport, *, progress: Progress | None) -> None:
    """Check all data sets that lie below a folder."""
    split = SplitConfig()
    images = root / "coco" / "images"
    if images.is_dir():
        captions = sorted(root.glob("coco/annotations/captions_*.json"))
        conversations = sorted(root.glob("instruct/*.json"))
        check_images(ImageFiles(images, captions, conversations, split), report, progress=progress)
    sources = [source for source in TEXT_SOURCES if (root / source).is_dir()]
    for source in sources:
        _check_text(source, root, report, split=split, progress=progress)
    if not report.counts:
        raise DataError(
            f"{root} holds no data set. Expected coco/images, gutenberg or redpajama in it. Give "
            "the folder that holds them, or a stage's config.",
            exit_code=ExitCode.MISSING_INPUT,
        )


def _check_text(
    source: TextSource,
    root: Path,
    report: CheckReport,
    *,
    split: SplitConfig,
    progress: Progress | None,
) -> None:
    """Count documents by part; equal texts under two keys are copies, or leaks."""
    source_files(source, root)
    counts = {"train": 0, "held-out": 0}
    seen: dict[bytes, tuple[str, str, str]] = {}
    for entry in iter_documents(source, root, progress=progress):
        if isinstance(entry, BadDocument):
            report.find(f"{source}: {entry.reason}", f"{entry.where}: {entry.detail}")
            continue
        heldout = is_heldout(entry.key, salt=split.salt, heldout_fraction=split.heldout_fraction)
        part = "held-out" if heldout else "train"
        counts[part] += 1
        digest = hashlib.sha256(" ".join(entry.text.split()).encode()).digest()
        where = f"{entry.path}:{entry.offset}" if entry.offset else entry.path
        key, first_part, first = seen.setdefault(digest, (entry.key, part, where))
        if first == where:
            continue
        if first_part != part:
            report.find(f"{source} leak: one text in train and held-out", f"{first} = {where}")
        elif key == entry.key:
            report.note(f"{source}: one text twice", f"{first} = {where}")
        else:
            report.find(f"{source}: one text under two ids", f"{first} = {where}")
    for part, count in counts.items():
        report.counts[f"{source} {part} documents"] = count
