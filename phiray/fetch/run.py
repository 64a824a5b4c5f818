"""`phiray data fetch`: download a public data set into the layout that phiray reads.

    summary = fetch_data("coco", Path("data"), FetchOptions(subset=40_000), listener=...)

Source: DESIGN 4 and 6; the layouts that `phiray/config/data.py` names.
Limits: files that did not come from here are left alone, but for those that have the name of one
that is fetched: they are replaced.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from phiray.errors import ConfigError, ExitCode
from phiray.fetch.books import fetch_books, read_ids
from phiray.fetch.client import Patience
from phiray.fetch.coco import fetch_coco
from phiray.fetch.hub import fetch_hub
from phiray.fetch.retry import Note
from phiray.fetch.sources import (
    COCO,
    GUTENBERG,
    INSTRUCT,
    LICENCES,
    NAMES,
    REDPAJAMA,
    BookSource,
    CocoSource,
    HubSource,
)
from phiray.fetch.workplace import Workplace, open_workplace
from phiray.types import Progress

Source = CocoSource | HubSource | BookSource

SOURCES: Mapping[str, Source] = dict(
    zip(NAMES, (COCO, INSTRUCT, GUTENBERG, REDPAJAMA), strict=True)
)


@dataclass(frozen=True)
class FetchOptions:
    """What a user may choose."""

    subset: int | None = None
    """Of coco: so many training images, chosen by the seed, one by one; None fetches archives."""
    seed: int = 0
    """Of the choice."""
    ids: Path | None = None
    """Of gutenberg: a list of book numbers; None takes the one that phiray brings."""
    verify: bool = False
    """Whether to hash what is there, too."""
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class FetchSummary:
    """What is there now."""

    name: str
    folder: str
    files: int
    """That came from here and are there with their sizes."""
    bytes: int
    fetched_bytes: int
    """Over the network, now."""
    damaged: list[str]
    """What `verify` found, and was fetched again."""
    licence: str
    next: str
    """The command to go on with."""


def fetch_data(
    name: str,
    out: Path,
    options: FetchOptions,
    *,
    progress: Progress,
    note: Note,
    sources: Mapping[str, Source] = SOURCES,
) -> FetchSummary:
    """Fetch what is not there of a data set.

    Args:
        name: one of NAMES.
        out: the folder of all data sets.
        options: what of it.
        progress: told of what takes long.
        note: told of what a person should know.
        sources: what each name stands for.

    Raises:
        ConfigError: if an option does not fit the data set, or `out` is a URL (2).
        FetchError: if a server does not give it, or the disk has no room.
        DataError: if what a server gives is not what it should be.
    """
    _check_options(name, out, options)
    source = sources[name]
    ids = read_ids(options.ids) if isinstance(source, BookSource) else []
    with open_workplace(
        out / name,
        places=source.places,
        patience=options.patience,
        progress=progress,
        note=note,
    ) as workplace:
        damaged = workplace.ledger.forget_damaged(progress=progress) if options.verify else []
        for path in damaged:
            note(f"{path} is damaged; it is fetched again")
        if isinstance(source, CocoSource):
            fetched = fetch_coco(source, workplace, subset=options.subset, seed=options.seed)
        elif isinstance(source, HubSource):
            fetched = fetch_hub(source, workplace)
        else:
            fetched = fetch_books(source, workplace, ids=ids)
        # the captions of a subset name many images that are not wanted
        check = "check --partial" if options.subset is not None else "check"
        return _summarise(
            name,
            workplace,
            fetched=fetched,
            damaged=damaged,
            next_command=f"phiray data {check} {shlex.quote(str(out))}",
        )


def _check_options(name: str, out: Path, options: FetchOptions) -> None:
    if out.parts and out.parts[0].endswith(":"):  # what a Path makes of s3://bucket
        raise ConfigError(
            f"--out is {out}, a URL. Expected a folder here. Fetch into one, and copy it.",
            exit_code=ExitCode.USAGE,
        )
    misplaced = [
        (option, owner)
        for option, owner, is_given in (
            ("--subset", "coco", options.subset is not None),
            ("--ids", "gutenberg", options.ids is not None),
        )
        if is_given and name != owner
    ]
    if misplaced:
        option, owner = misplaced[0]
        raise ConfigError(
            f"{option} was given for {name}. It belongs to {owner} alone. Leave it out.",
            exit_code=ExitCode.USAGE,
        )


def _summarise(
    name: str, workplace: Workplace, *, fetched: int, damaged: list[str], next_command: str
) -> FetchSummary:
    ledger = workplace.ledger
    there = [entry for entry in ledger.entries.values() if ledger.is_there(entry.path)]
    return FetchSummary(
        name=name,
        folder=str(workplace.folder),
        files=len(there),
        bytes=sum(entry.num_bytes for entry in there),
        fetched_bytes=fetched,
        damaged=damaged,
        licence=LICENCES[name],
        next=next_command,
    )
