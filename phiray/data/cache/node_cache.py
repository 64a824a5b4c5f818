"""Files of shared storage on this node's own disk: fetched on first use, verified when opened.

    cache = NodeCache("/mnt/disk/phiray", max_gb=200)
    with cache.open(Path("/shared/prepared/tokens.bin"), sha256="...") as file: ...

A copy's name ends in its sha256. Before that stands, for a file whose hash no manifest names, a key
made of its path, size and version.

Source: DESIGN 6; git, whose objects are named by their hashes, too.
Limits: whole files. Nothing is flushed to the disk: what a power cut tears is found by its hash. A
file of a version that was seen once is not looked for on the storage again by the same process.
"""

import errno
import fcntl
import hashlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from phiray.data.cache.room import PARTIAL, CacheRoom
from phiray.errors import DataError
from phiray.node import node_cache_folder
from phiray.storage import AnyPath, FileVersion, version_now, version_of

ATTEMPTS = 2
"""So often is a file fetched that does not arrive as it should, or is gone or damaged at once."""
REST_SECONDS = 60.0
"""After a fetch that failed none is tried for so long: looking for room each time would be slow."""
GB = 10**9
_KEY_LENGTH = 32
_HASH_LENGTH = 64
_FOLDER_LENGTH = 3
"""Letters of a name that give its folder: 4,096 folders, with 30 images each for all of COCO."""
_CHUNK_BYTES = 2**22
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_log = logging.getLogger(__name__)


class _CacheError(Exception):
    """The cache itself cannot be used, as when its disk is full; the storage is not to blame."""


class NodeCache:
    """The cache of the node whose process this is; pickled, it becomes that of another node."""

    def __init__(self, folder: str | None = None, *, max_gb: float | None = None) -> None:
        """Keep copies in a folder of this node; without one, files are read where they lie.

        Args:
            folder: `data.node_cache`; a node's environment may name another one.
            max_gb: most of its disk in 10**9 bytes; none takes what the disk can spare.
        """
        self._settings = (folder, max_gb)
        self.folder = node_cache_folder(folder)
        self.num_damaged = 0
        self._versions: dict[AnyPath, FileVersion] = {}
        self._verified: dict[str, tuple[int, int, int]] = {}
        self._rests_until = 0.0
        self._has_told = False
        if self.folder is not None:
            max_bytes = None if max_gb is None else int(max_gb * GB)
            self._room = CacheRoom(self.folder, max_bytes=max_bytes)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the settings alone: the folder is that of the node where they arrive."""
        return _cache_from_settings, self._settings

    def fault(self) -> str | None:
        """Say why this node can keep no copies at all; None if it can, or is not to."""
        try:
            if self.folder is not None:
                _claim(self.folder)
        except _CacheError as error:
            return str(error)
        return None

    def open(self, source: AnyPath, *, sha256: str | None = None) -> BinaryIO:
        """Open this node's copy of a file, or the file itself where there can be no copy.

        What is open stays whole, also when its copy must make room. A copy is hashed each time that
        it is opened. Shards are large, and opened for each block of rows: with their `sha256` given
        they are hashed once in a process, and when size or time have changed; so is the shard
        itself where the cache cannot be used.

        Args:
            source: where it lies on the storage.
            sha256: by the file's manifest; none if no manifest names it.

        Raises:
            OSError: as opening the source does, or because it does not arrive whole.
            DataError: if the source is not what its manifest names.
        """
        if self.folder is not None:
            try:
                return self._open_copy(self.folder, source, sha256=sha256)
            except _CacheError as error:
                self._tell_once(error)
                return self._open_source(source, sha256=sha256)
        return source.open("rb")

    def _open_source(self, source: AnyPath, *, sha256: str | None) -> BinaryIO:
        """Open a file where it lies, and verify what a manifest names: its size is all known."""
        file = source.open("rb")
        if sha256 is None:
            return file
        with ExitStack() as stack:
            stack.enter_context(file)
            # only a file of a file system can be known again by what it says of itself
            seen = _seen(file) if isinstance(source, Path) else None
            if seen is None or self._verified.get(str(source)) != seen:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise _torn(source, sha256=sha256)
                file.seek(0)
                if seen is not None:
                    self._verified[str(source)] = seen
            stack.pop_all()
        return file

    def _open_copy(self, folder: Path, source: AnyPath, *, sha256: str | None) -> BinaryIO:
        _claim(folder)
        for _ in range(ATTEMPTS):
            key = sha256 or _key_of(source, self._version(source))
            copy = _find(folder, key) or self._fetch(folder, source, sha256=sha256)
            with _own_faults(), suppress(FileNotFoundError), ExitStack() as stack:
                file = stack.enter_context(copy.open("rb"))  # gone if another process made room
                if self._is_whole(file, copy.name, is_shard=sha256 is not None):
                    stack.pop_all()
                    return file
                copy.unlink()
                self._tell_damaged(copy, source)
        raise _CacheError("what was written there a moment ago is gone or damaged")

    def _is_whole(self, file: BufferedReader, name: str, *, is_shard: bool) -> bool:
        """Verify an open copy by the hash in its name, and note that it was used."""
        seen = _seen(file)
        if not is_shard or self._verified.get(name) != seen:
            if _hash_of(file) != name[-_HASH_LENGTH:]:
                return False
            file.seek(0)
            if is_shard:
                self._verified[name] = seen
        with suppress(OSError):  # a disk that is mounted for reading alone serves as well
            os.utime(file.fileno(), ns=(time.time_ns(), seen[-1]))
        return True

    def _version(self, source: AnyPath) -> FileVersion:
        """Ask the storage for a file's version, once in this process."""
        if source not in self._versions:
            self._versions[source] = version_of(source)
        return self._versions[source]

    def _fetch(self, folder: Path, source: AnyPath, *, sha256: str | None) -> Path:
        """Copy a file here. Where another process is doing so, wait for its copy."""
        if time.monotonic() < self._rests_until:
            raise _CacheError("it could not be written a moment ago")
        try:
            for _ in range(ATTEMPTS):
                version = self._version(source)
                key = sha256 or _key_of(source, version)
                with _locked(folder / key[:_FOLDER_LENGTH]) as below:
                    copy = _find(folder, key)
                    if copy is None:
                        self._take_room(version.num_bytes)
                        copy = _download(source, version, below, sha256=sha256)
                if copy is not None:
                    return copy
                self._versions[source] = version_now(source)  # it may have been replaced
        except _CacheError:
            self._rests_until = time.monotonic() + REST_SECONDS
            raise
        raise _torn(source, sha256=sha256)

    def _take_room(self, num_bytes: int) -> None:
        with _own_faults():
            if not self._room.take(num_bytes):
                raise _CacheError(f"no room for {num_bytes} bytes")

    def _tell_damaged(self, copy: Path, source: AnyPath) -> None:
        self.num_damaged += 1
        _log.warning(
            "event=node_cache_damaged copy=%s source=%s count=%d: it is fetched again",
            copy,
            source,
            self.num_damaged,
        )

    def _tell_once(self, error: _CacheError) -> None:
        if not self._has_told:
            self._has_told = True
            _log.warning(
                "event=node_cache_unusable folder=%s why=%s: the storage is read directly",
                self.folder,
                error,
            )


def _cache_from_settings(folder: str | None, max_gb: float | None) -> NodeCache:
    return NodeCache(folder, max_gb=max_gb)


def _claim(folder: Path) -> None:
    """Make the folder for this user alone; refuse one in which another user can put copies.

    A copy is verified by its own name alone, and others could name theirs as they like.
    """
    with _own_faults():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
        raise _CacheError(
            f"user {status.st_uid} owns it and its mode is {stat.S_IMODE(status.st_mode):04o}, but "
            f"user {os.geteuid()} must be the only one who can write there; name a folder below "
            "it, which is made so"
        )


def _key_of(source: AnyPath, version: FileVersion) -> str:
    text = "\0".join((str(source), str(version.num_bytes), version.version))
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


def _seen(file: BinaryIO) -> tuple[int, int, int]:
    """Return inode, size and time of change of an open file: all that tells it from another."""
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def _hash_of(file: BufferedReader) -> str | None:
    """Return the sha256 of a copy; None if the disk cannot read it."""
    try:
        return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _find(folder: Path, key: str) -> Path | None:
    """Find a copy by the beginning of its name."""
    below = folder / key[:_FOLDER_LENGTH]
    try:
        return next((file for file in below.iterdir() if file.name.startswith(key)), None)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _CacheError(str(error)) from error


def _download(
    source: AnyPath, version: FileVersion, folder: Path, *, sha256: str | None
) -> Path | None:
    """Copy a file under a name for the moment, then under its own; None if it arrived torn."""
    with _own_faults():
        descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=folder)
    partial = Path(name)
    try:
        num_bytes, digest = _copy_bytes(source, descriptor)
        if num_bytes != version.num_bytes or sha256 not in (None, digest):
            return None
        copy = folder / (sha256 or f"{_key_of(source, version)}-{digest}")
        with _own_faults():
            partial.rename(copy)
        return copy
    finally:
        os.close(descriptor)
        with suppress(OSError):
            partial.unlink()


def _copy_bytes(source: AnyPath, descriptor: int) -> tuple[int, str]:
    """Copy and hash; return the number of bytes and their sha256."""
    digest = hashlib.sha256()
    num_bytes = 0
    with source.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            num_bytes += len(chunk)
            rest = memoryview(chunk)
            with _own_faults():
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
    return num_bytes, digest.hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """Make a folder and keep other processes and threads from fetching into it, until they may."""
    with _own_faults():
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        with _own_faults():
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)  # which unlocks


@contextmanager
def _own_faults() -> Iterator[None]:
    """Tell faults of the cache's disk from those of the storage."""
    try:
        yield
    except OSError as error:
        raise _CacheError(str(error)) from error


def _torn(source: AnyPath, *, sha256: str | None) -> Exception:
    """Say that a file did not arrive whole: an image is one bad row, a shard ends the run."""
    if sha256 is None:
        return OSError(errno.EIO, "it does not arrive with all its bytes", str(source))
    return DataError(
        f"{source} is not the file that its manifest names: its sha256 should be {sha256}. It was "
        "damaged on the storage. Delete the folder that it lies in; it is made again."
    )
