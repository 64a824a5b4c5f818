"""The folder of a data set while it is fetched: one process at a time, and room on its disk.

Source: flock(2), which a killed process lets go of.
Limits: free space is looked at once, before the start; what others write meanwhile is met by the
error of a full disk.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from phiray.errors import ConfigError, ExitCode, FetchError
from phiray.fetch.client import Patience, build_client
from phiray.fetch.download import Arrived, Downloader
from phiray.fetch.files import say_bytes
from phiray.fetch.ledger import Entry, Ledger
from phiray.fetch.partial import PartialFile
from phiray.fetch.retry import Note
from phiray.fetch.sources import RemoteFile
from phiray.types import Progress

WORK = ".fetch"
"""Below the folder of a data set, where no reader looks: parts of files, and the ledger."""
_LEDGER = "files.jsonl"
_LOCK = "lock"


@dataclass(frozen=True)
class Workplace:
    """What fetching a data set works with."""

    folder: Path
    """Of the data set."""
    work: Path
    ledger: Ledger
    downloader: Downloader

    def part(self, path: str) -> PartialFile:
        """Return where a file grows that will belong at `path`."""
        return PartialFile(self.work / f"{path.replace('/', '--')}.part")

    def fetch(self, remote: RemoteFile, *, archive: str = "", quiet: bool = False) -> int:
        """Download a file and put it in place; return how many bytes came over the network.

        Args:
            remote: what to fetch.
            archive: what it is a member of; empty for a file of its own.
            quiet: whether to show no progress, for one of many small files.

        Raises:
            FetchError: if the server does not give it (66, 69, 75, 77).
            DataError: if what it gives is not what it should be (65).
        """
        arrived = self.downloader.fetch(remote, self.part(remote.path), quiet=quiet)
        self.accept(remote, arrived, archive=archive)
        return arrived.fetched_bytes

    def accept(self, remote: RemoteFile, arrived: Arrived, *, archive: str = "") -> None:
        """Put a file in place that has arrived.

        It is noted first: a process that is killed between the two finds all of the part again.
        """
        entry = Entry(remote.path, arrived.num_bytes, arrived.sha256, remote.url, archive=archive)
        self.ledger.add([entry])
        self.part(remote.path).become(self.folder / remote.path)

    def check_room(self, num_bytes: int, *, what: str) -> None:
        """Look whether the disk can take what is about to arrive.

        Raises:
            FetchError: with both numbers, if it cannot (74).
        """
        free = shutil.disk_usage(self.work).free
        if free < num_bytes:
            raise FetchError(
                f"The disk of {self.folder} has {say_bytes(free)} free. {what} needs "
                f"{say_bytes(num_bytes)} more. Free some space, or give --out another disk; "
                "--subset fetches a part of coco.",
                exit_code=ExitCode.IO,
            )


@contextmanager
def open_workplace(
    folder: Path, *, places: Sequence[str], patience: Patience, progress: Progress, note: Note
) -> Iterator[Workplace]:
    """Make the folder of a data set, and keep it from other processes.

    Args:
        folder: of the data set.
        places: that its files may come from.
        patience: with servers.
        progress: told of what takes long.
        note: told of what a person should know.

    Raises:
        ConfigError: if something that is no folder has its name (73).
        FetchError: if another process is at work there (75).
    """
    work = folder / WORK
    try:
        work.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"{error.filename} cannot be a folder: a file has that name. Expected a folder for the "
            "data sets. Give --out another one.",
            exit_code=ExitCode.CANNOT_CREATE,
        ) from error
    with _locked(work / _LOCK), build_client(places, patience=patience) as client:
        yield Workplace(
            folder,
            work,
            Ledger.open(folder, file=work / _LEDGER),
            Downloader(client, patience, progress, note),
        )


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchError(
                f"Another process is fetching into {file.parent.parent}. Expected to be alone "
                "there. Wait for it to end."
            ) from error
        yield
    finally:
        os.close(descriptor)  # which unlocks
