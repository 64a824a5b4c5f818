"""Data sets on the Hugging Face Hub.

huggingface_hub lists their files, pinned to one commit, with their sizes and hashes; they are then
downloaded as all others are (`download.py` says why).

Source: huggingface_hub 1.3 (`HfApi.dataset_info`, `hf_hub_url`, `set_client_factory`).
Limits: public repositories, and no token is sent. Through plain https, not Xet: huggingface_hub's
Xet client makes its requests by itself, where no list of hosts binds it. From the first listing on,
huggingface_hub keeps to that list in this process. Its version 2 has another HTTP client, httpx2.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import huggingface_hub
import huggingface_hub.errors
from huggingface_hub.hf_api import RepoSibling

from phiray.errors import DataError, ExitCode, FetchError
from phiray.fetch.client import Patience, build_client
from phiray.fetch.files import say_bytes
from phiray.fetch.retry import check_status, keep_trying
from phiray.fetch.sources import HubSource, RemoteFile
from phiray.fetch.workplace import Workplace

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Listing:
    """The wanted files of a repository, as they are in one commit."""

    commit: str
    files: list[RemoteFile]


def fetch_hub(source: HubSource, workplace: Workplace) -> int:
    """Fetch all wanted files that are not there; return how many bytes came over the network.

    A folder that is complete is not compared with the Hub again.

    Raises:
        FetchError: if the Hub does not give them, or the disk has no room.
        DataError: if they are not what the Hub announced.
    """
    ledger, downloader = workplace.ledger, workplace.downloader
    if source.repository in ledger.finished and all(
        ledger.is_there(entry.path) for entry in ledger.members(source.repository)
    ):
        return 0
    listing = list_files(source, workplace)
    missing = [file for file in listing.files if not _is_there(file, workplace)]
    have = sum(workplace.part(file.path).num_bytes() for file in missing)
    workplace.check_room(sum(file.num_bytes or 0 for file in missing) - have, what="This data set")
    fetched = 0
    for file in missing:
        fetched += workplace.fetch(file, archive=source.repository)
    ledger.finish(source.repository)
    downloader.note(
        f"{source.repository} at commit {listing.commit[:12]}: {len(listing.files)} files, "
        f"{say_bytes(sum(file.num_bytes or 0 for file in listing.files))}"
    )
    return fetched


def list_files(source: HubSource, workplace: Workplace) -> Listing:
    """Ask the Hub which files a repository has now.

    Raises:
        FetchError: if it does not say (66, 69, 75, 77).
        DataError: if the repository holds none that is wanted (65).
    """
    if huggingface_hub.is_offline_mode():
        raise FetchError(
            "HF_HUB_OFFLINE is set, but this data set is on the Hugging Face Hub. Expected to be "
            "allowed to ask it. Unset it for this command.",
            exit_code=ExitCode.UNAVAILABLE,
        )
    _bind_to(source.places, workplace.downloader.patience)
    api = huggingface_hub.HfApi(endpoint=source.endpoint, token=False)
    downloader = workplace.downloader

    def ask() -> huggingface_hub.DatasetInfo:
        try:
            info = api.dataset_info(
                source.repository,
                files_metadata=True,
                timeout=downloader.patience.stall_seconds,  # none would wait for ever
            )
            if not _COMMIT.fullmatch(str(info.sha)):
                raise ValueError(f"its commit is {info.sha!r:.60}")
            return info
        except huggingface_hub.errors.HfHubHTTPError as error:
            check_status(error.response, what=source.repository)
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise FetchError(
                f"{source.endpoint} described {source.repository} in a way that cannot be read "
                f"({type(error).__name__}: {error}). Expected a list of files. A proxy may have "
                "answered instead: look at it in a browser.",
                exit_code=ExitCode.UNAVAILABLE,
            ) from error

    info = keep_trying(
        ask, what=source.repository, patience=downloader.patience, note=downloader.note
    )
    return Listing(str(info.sha), _wanted(source, str(info.sha), info.siblings or []))


def _bind_to(places: Sequence[str], patience: Patience) -> None:
    huggingface_hub.set_client_factory(lambda: build_client(places, patience=patience))


def _wanted(source: HubSource, commit: str, siblings: list[RepoSibling]) -> list[RemoteFile]:
    files = [
        RemoteFile(
            huggingface_hub.hf_hub_url(
                source.repository,
                sibling.rfilename,
                repo_type="dataset",
                revision=commit,
                endpoint=source.endpoint,
            ),
            sibling.rfilename,
            source.max_file_bytes,
            sibling.size,
            sibling.lfs.sha256 if sibling.lfs is not None else None,
        )
        for sibling in siblings
        if source.files.fullmatch(sibling.rfilename)
    ]
    if not files:
        found = ", ".join(sorted(sibling.rfilename for sibling in siblings)) or "nothing"
        raise DataError(
            f"{source.repository} holds {found!r:.300}. Expected files named like "
            f"{source.files.pattern}. The repository was changed: look for a newer phiray."
        )
    return sorted(files, key=lambda file: file.path)


def _is_there(file: RemoteFile, workplace: Workplace) -> bool:
    """Say whether this very file is there, also if it came from an older commit."""
    entry = workplace.ledger.entries.get(file.path)
    return (
        entry is not None
        and (entry.sha256 == file.sha256 or (file.sha256 is None and entry.url == file.url))
        and workplace.ledger.is_there(file.path)
    )
