"""Find image files by COCO id, and keep file names from the data inside their folder.

Source: the three name forms of COCO and LLaVA files (`000000442786.jpg`,
`coco/train2017/000000033471.jpg`, `COCO_val2014_000000441147.jpg`).
Limits: one COCO image has one id over all years, so the first file of an id (in sorted order) is
the image of that id; other files of the same id are listed in `duplicates`.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phiray.errors import DataError, ExitCode
from phiray.storage import AnyPath, UrlPath

IMAGE_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{1,12})\.(?:jpe?g|png|webp)", re.I)
MAX_BYTES = 50_000_000
"""Largest image file that is read."""
MAX_PART_BYTES, MAX_NAME_BYTES = 255, 2048
"""Of a file name; Linux takes paths of 4,096 bytes, and the folder's own comes on top."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def image_id_from_name(name: str) -> int | None:
    """Read the integer COCO id from a file name of any of the three forms; None for others."""
    match = IMAGE_NAME.fullmatch(name.rpartition("/")[2])
    return int(match.group(1)) if match else None


def safe_join(root: Path, name: str) -> Path:
    """Join a file name that came with the data, and refuse one that leaves `root`.

    Raises:
        DataError: for an absolute name, `..`, a URL, a backslash, a NUL, half a character, a part
            of over 255 bytes, or a link out of `root`.
    """
    _check_name(name)
    joined = root / name
    # not `Path.resolve`, which raises on a link that leads to itself
    if not Path(os.path.realpath(joined)).is_relative_to(os.path.realpath(root)):
        raise _unsafe(name, "it is a link out of the folder")
    return joined


@dataclass(frozen=True)
class ImageFolder:
    """The image files below a folder; `scan` looks once, lookups read no directory again."""

    root: AnyPath
    paths: dict[int, AnyPath]
    """COCO id to file."""
    duplicates: list[AnyPath] = field(default_factory=list)
    """Further files of an id that is already in `paths`."""
    unnamed: list[AnyPath] = field(default_factory=list)
    """Image files without a COCO id in their name."""
    links_out: dict[int, AnyPath] = field(default_factory=dict)
    """COCO id to a link that leads to a file elsewhere, which is not read."""

    @classmethod
    def scan(cls, root: AnyPath) -> "ImageFolder":
        """Walk `root` in sorted order and index its images.

        Links to folders are followed: large data sets often lie elsewhere, and whoever owns the
        folder has put them there. A link to a single file must stay inside.

        Raises:
            DataError: with exit code 66 if `root` is not a folder.
        """
        if not root.is_dir():
            raise DataError(
                f"The image folder {root} does not exist. Expected a folder with JPEG files. Set "
                "data.root or data.images, or make the built-in data with `phiray demo`.",
                exit_code=ExitCode.MISSING_INPUT,
            )
        folder = cls(root, {})
        files, links_out = _image_files(root) if isinstance(root, Path) else (_image_urls(root), [])
        for link in links_out:
            image_id = image_id_from_name(link.name)
            if image_id is not None:
                folder.links_out[image_id] = link
        for path in files:
            image_id = image_id_from_name(path.name)
            if image_id is None:
                folder.unnamed.append(path)
            elif folder.paths.setdefault(image_id, path) != path:
                folder.duplicates.append(path)
        return folder

    def find(self, name: str) -> AnyPath | None:
        """Find the file that the data calls `name`: by its id, else by its path below `root`.

        Raises:
            DataError: if `name` would leave the folder.
        """
        _check_name(name)
        image_id = image_id_from_name(name)
        if image_id is not None:
            found = self.paths.get(image_id)
            if found is None and image_id in self.links_out:
                raise _unsafe(name, f"{self.links_out[image_id]} is a link out of the folder")
            return found
        path = safe_join(self.root, name) if isinstance(self.root, Path) else self.root / name
        return path if path.is_file() else None


def _image_urls(root: UrlPath) -> list[UrlPath]:
    """List image files of a store."""
    return sorted(path for path in root.walk() if path.suffix.lower() in IMAGE_SUFFIXES)


def _image_files(root: Path) -> tuple[Sequence[AnyPath], Sequence[AnyPath]]:
    """List image files, and links to files elsewhere; each real folder is entered once."""
    real_folders: dict[str, None] = {}
    files: list[Path] = []
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in real_folders:
            subfolders.clear()
            continue
        real_folders[real] = None
        subfolders.sort()
        files += [Path(folder, name) for name in names]
    images = sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES)
    outside = {
        path
        for path in images
        if path.is_symlink() and str(Path(os.path.realpath(path)).parent) not in real_folders
    }
    inside = [path for path in images if path not in outside]
    # reading a pipe would wait for ever
    return [path for path in inside if not path.is_fifo()], sorted(outside)


def _check_name(name: str) -> None:
    """Refuse names that are unsafe whatever lies on disk."""
    parts = name.split("/")
    if "://" in name:
        raise _unsafe(name, "it is a URL")
    if not name or name.startswith("/") or ".." in parts or any(c in name for c in "\0\\:"):
        raise _unsafe(name, "it does not stay inside" if name else "it is empty")
    if any("\ud800" <= c <= "\udfff" for c in name) or _is_too_long(name):
        raise _unsafe(name, "no file can have it")


def _is_too_long(name: str) -> bool:
    """Tell whether a part, or the whole, is longer than file systems take."""
    parts = [len(part.encode()) for part in name.split("/")]
    return max(parts) > MAX_PART_BYTES or sum(parts) + len(parts) > MAX_NAME_BYTES


def _unsafe(name: str, why: str) -> DataError:
    return DataError(
        f"The file name {name!r:.200} in the data is not safe: {why}. Expected a plain relative "
        "path inside the image folder. Remove the row, or rename the file."
    )
