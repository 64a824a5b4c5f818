"""Download one file: whole and checked, or not at all; going on where it was broken off.

No library in the set that phiray installs does this: pooch and torch.hub start over, fsspec checks
nothing, and huggingface_hub's own download resumes but sends no If-Range, checks no hash and lets
no caller bound its hosts. So httpx makes the requests, and what RFC 9110 asks of a client that
resumes is here.

Source: RFC 9110, section 14 (ranges); curl, which starts over where a server ignores a range.
Limits: one connection for a file. The server must say how large the file is, and one that sends a
byte from time to time is waited for.
"""

import re
from dataclasses import dataclass

import httpx

from phiray.errors import DataError, ExitCode, FetchError
from phiray.fetch.client import Patience
from phiray.fetch.files import MB, sha256_of, show_bytes
from phiray.fetch.partial import Described, PartialFile, validator_of
from phiray.fetch.retry import BrokenOffError, Note, check_status, keep_trying
from phiray.fetch.sources import RemoteFile
from phiray.types import Progress

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_NO_SUCH_RANGE = 416
_PART_OF_IT = 206
_HASH_ATTEMPTS = 2
"""Damage on the way is rare, and twice the same is damage at the source."""
GAINED_BYTES = MB
"""A connection that brought so many bytes is no failure in a row."""


@dataclass(frozen=True)
class Arrived:
    """A part that is all of its file."""

    num_bytes: int
    sha256: str
    fetched_bytes: int
    """Of those, what came over the network now; more than all if it had to start over."""


@dataclass(frozen=True)
class Downloader:
    """How files are downloaded; shared by all files, and by threads."""

    client: httpx.Client
    patience: Patience
    progress: Progress
    note: Note

    def fetch(self, remote: RemoteFile, part: PartialFile, *, quiet: bool = False) -> Arrived:
        """Download a file, or the rest of it, until the part is all of it and checked.

        Args:
            remote: what to fetch.
            part: where it grows; it keeps that name.
            quiet: whether to show no progress, for one of many small files.

        Raises:
            FetchError: if the server does not give it (66, 69, 75, 77).
            DataError: if what it gives is not what it should be (65).
        """
        job = _Job(self, remote, part, quiet=quiet)
        fetched = 0
        progress = None if quiet else self.progress
        for attempt in range(_HASH_ATTEMPTS):
            if attempt:
                self.note(f"{job.what} arrived damaged; it is fetched again")
            fetched += job.fetch_bytes()
            digest = sha256_of(part.path, f"check {job.what}", progress=progress)
            if remote.sha256 in (None, digest):
                return Arrived(part.num_bytes(), digest, fetched)
            part.drop()
        raise DataError(
            f"{remote.url} arrived with all its bytes, but its sha256 is {digest}. Expected "
            f"{remote.sha256}. The file on the server is another one, or a proxy changes it. Try "
            "another network; nothing of it was kept."
        )


class _Job:
    """One file on its way."""

    def __init__(
        self, downloader: Downloader, remote: RemoteFile, partial: PartialFile, *, quiet: bool
    ) -> None:
        self.downloader = downloader
        self.remote = remote
        self.partial = partial
        self.what = remote.path.rpartition("/")[2]
        self._quiet = quiet
        self._fetched = 0

    def fetch_bytes(self) -> int:
        """Get all bytes onto the disk; return how many came over the network."""
        before = self._fetched
        keep_trying(
            self._fetch_once,
            what=self.what,
            patience=self.downloader.patience,
            note=self.downloader.note,
        )
        return self._fetched - before

    def _fetch_once(self) -> None:
        described = self.partial.described(self.remote.url)
        have = self.partial.num_bytes() if described is not None else 0
        if described is not None and 0 < have == described.num_bytes == self._expected(have):
            return  # ended before it was checked
        headers = {}
        if described is not None and have:
            headers = {"Range": f"bytes={have}-", "If-Range": described.validator}
        before = self._fetched
        with self.downloader.client.stream("GET", self.remote.url, headers=headers) as response:
            total = self._begin(response, have=have, described=described)
            why = "the connection broke"
            try:
                self._write(response, total=total)
            except httpx.TimeoutException:
                why = "the server sent nothing more"
            except httpx.TransportError:
                pass
        have = self.partial.num_bytes()
        if have != total:
            raise BrokenOffError(
                f"{why} at {have} of {total} bytes",
                has_gained=self._fetched - before >= GAINED_BYTES,
            )

    def _expected(self, otherwise: int) -> int:
        return otherwise if self.remote.num_bytes is None else self.remote.num_bytes

    def _begin(self, response: httpx.Response, *, have: int, described: Described | None) -> int:
        """Make the part fit the answer, which begins at its end or at 0; return the file's size."""
        if response.status_code == _NO_SUCH_RANGE:
            self.partial.drop()
            raise BrokenOffError("the server no longer knows the part that is missing")
        check_status(response, what=self.what)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._unusable("compresses it, though it was asked not to")
        if response.status_code == _PART_OF_IT:
            start, total = self._range_of(response)
            if described is not None and (start, total) == (have, described.num_bytes):
                return total
            self.partial.drop()
            raise BrokenOffError("the server sent another part than the one that is missing")
        total = self._length_of(response)
        self._check_size(total)
        self.partial.begin(Described(self.remote.url, total, validator_of(response)))
        return total

    def _range_of(self, response: httpx.Response) -> tuple[int, int]:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None:
            raise self._unusable("sends a part of it without saying which")
        return int(found[1]), int(found[2])

    def _length_of(self, response: httpx.Response) -> int:
        length = response.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise self._unusable("does not say how many bytes it has, so it could not be checked")
        return int(length)

    def _check_size(self, total: int) -> None:
        if total != self._expected(total) or total > self.remote.max_bytes:
            bound = self.remote.num_bytes
            self.partial.drop()
            raise DataError(
                f"{self.remote.url} has {total} bytes by its server. Expected "
                f"{f'{bound}' if bound is not None else f'at most {self.remote.max_bytes}'}. It is "
                "another file, or the page of a proxy: look at the URL in a browser."
            )

    def _write(self, response: httpx.Response, *, total: int) -> None:
        have = self.partial.num_bytes()
        with self.partial.path.open("ab") as file:
            for chunk in response.iter_raw():
                have += len(chunk)
                if have > total:
                    break  # noticed by its size
                file.write(chunk)
                file.flush()  # whoever kills this process keeps what arrived
                self._fetched += len(chunk)
                if not self._quiet:
                    show_bytes(self.downloader.progress, f"fetch {self.what}", have, total=total)
        if have > total:
            self.partial.drop()
            raise BrokenOffError(f"the server sent more than the {total} bytes that it promised")

    def _unusable(self, fault: str) -> FetchError:
        return FetchError(
            f"{self.remote.url} cannot be fetched: its server {fault}. Expected a plain file. A "
            "proxy may be to blame: try another network.",
            exit_code=ExitCode.UNAVAILABLE,
        )
