"""Tokenise the documents of a data set once, into rows on disk; find them again ever after.

Source: DESIGN 6: whole documents (splitting one changes its tokens), EOS after each document.
Limits: before shards are made, one process hashes and reads all inputs, about 100 MB/s; inputs are
hashed at each start, about 1 GB/s.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from phiray.config.data import TextDataConfig
from phiray.data.atomic import error_from_write, resumable_folder
from phiray.data.manifest import DataManifest, file_entries
from phiray.data.prepare.assemble import assemble
from phiray.data.prepare.cut import cut_streams
from phiray.data.prepare.prepared_text import PreparedText, find_prepared
from phiray.data.prepare.shards import HIDDEN, ShardWriter
from phiray.data.prepare.streams import BYTES_PER_TOKEN, make_streams
from phiray.data.prepare.threads import OnDone, RunShards, run_in_threads
from phiray.data.sources.documents import DocumentIndex, index_documents, source_files
from phiray.data.split import SETTING_OF, Part
from phiray.errors import DataError
from phiray.text.tokenizer import Tokenizer
from phiray.types import Progress

_FORMAT = 1
"""To be raised when the same settings give other rows."""
_RECORDS_FOLDER = "records"


@dataclass(frozen=True)
class _Job:
    """What tokenising needs to know."""

    config: TextDataConfig
    part: Part
    root: Path
    tokenizer: Tokenizer
    progress: Progress | None
    run_shards: RunShards = run_in_threads


def prepare_text(
    config: TextDataConfig,
    *,
    part: Part = "train",
    hash_tokens: bool = True,
    progress: Progress | None = None,
    run_shards: RunShards = run_in_threads,
) -> PreparedText:
    """Tokenise a part of a data set, or find it as it was tokenised before.

    What was interrupted goes on with the shards that are missing. In whatever order shards are
    made, and by however many, the folder holds the same bytes.

    Args:
        config: of the data.
        part: of it.
        hash_tokens: whether tokens that are found are read, too: who reads them through a node's
            cache verifies them there, and would fetch them twice.
        progress: told of what takes long.
        run_shards: makes shards: in threads here, or on the nodes of a cluster.

    Raises:
        DataError: if inputs are missing (66) or too many are unusable (65), or if the folder
            cannot be written (73, 74, 77).
    """
    root = Path(config.root)
    tokenizer = Tokenizer.load(root / config.tokenizer)
    job = _Job(config, part, root, tokenizer, progress, run_shards)
    plan = _plan(job)
    folder = root / config.prepared / f"{config.source}-{plan.fingerprint[:16]}"
    found = find_prepared(folder, fingerprint=plan.fingerprint, hash_tokens=hash_tokens)
    if found is not None:
        return found
    index = index_documents(config.source, root, split=config.split, progress=progress)
    _check_index(index, config=config, part=part)
    with resumable_folder(folder, setting="data.prepared", progress=progress) as work:
        if folder.exists():  # of another process, for which this one has waited, or damaged
            found = find_prepared(folder, fingerprint=plan.fingerprint, hash_tokens=hash_tokens)
            if found is not None:
                return found
            _clear(folder)
        manifest = _make(work, work / folder.name, plan=plan, index=index, job=job)
    return PreparedText(folder, manifest)


def _make(
    work: Path, folder: Path, *, plan: DataManifest, index: DocumentIndex, job: _Job
) -> DataManifest:
    """Make what is missing of the folder."""
    records = work / _RECORDS_FOLDER
    records.mkdir(exist_ok=True)
    for file in (*folder.iterdir(), *records.iterdir()):
        if file.name.startswith(HIDDEN):  # which a killed process was writing
            file.unlink()
    documents, config = index.part(job.part), job.config
    limit = config.max_train_tokens
    writer = ShardWriter(folder, records, config.source, job.root, job.tokenizer)
    streams = make_streams(
        cut_streams(
            documents,
            separate_files=config.separate_files,
            most_bytes=None if limit is None else limit * BYTES_PER_TOKEN,
        ),
        writer,
        limit=limit,
        run_shards=job.run_shards,
        on_done=_count_up(job.progress, total=len(documents)),
    )
    if job.progress is not None:
        job.progress("tokenise", len(documents), len(documents))
    return assemble(
        streams,
        writer,
        plan=plan,
        index=index,
        part=job.part,
        sequence_length=config.sequence_length,
    )


def _count_up(progress: Progress | None, *, total: int) -> OnDone:
    """Tell the sum of what is done; its end is told when there is nothing left to do."""
    done = 0

    def add(num_new: int) -> None:
        nonlocal done
        done += num_new
        if progress is not None and done < total:
            progress("tokenise", done, total)

    return add


def _clear(folder: Path) -> None:
    """Move a damaged folder out of the way at once, then delete what can be deleted of it."""
    aside = folder.with_name(f".broken-{folder.name}-{os.getpid()}")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return  # another worker was faster
    except OSError as error:
        raise error_from_write(folder, error, setting="data.prepared") from error
    shutil.rmtree(aside, ignore_errors=True)


def plan_text(config: TextDataConfig, *, progress: Progress | None = None) -> DataManifest:
    """Hash what the rows depend on, without making them.

    Raises:
        DataError: if inputs are missing (66).
    """
    root = Path(config.root)
    return _plan(_Job(config, "train", root, Tokenizer.load(root / config.tokenizer), progress))


def _plan(job: _Job) -> DataManifest:
    files = source_files(job.config.source, job.root)
    return DataManifest(
        name=job.config.source,
        files=file_entries(files, root=job.root, progress=job.progress),
        tokenizer=job.tokenizer.fingerprint,
        settings=_settings(job.config, part=job.part, tokenizer=job.tokenizer),
    )


def _settings(
    config: TextDataConfig, *, part: Part, tokenizer: Tokenizer
) -> dict[str, str | int | float | None]:
    settings: dict[str, str | int | float | None] = {
        "format": _FORMAT,
        "part": part,
        "sequence_length": config.sequence_length,
        "max_train_tokens": config.max_train_tokens,
        "salt": config.split.salt,
        "heldout_fraction": config.split.heldout_fraction,
        "validation_fraction": config.split.validation_fraction,
        "vocab_size": tokenizer.vocab_size,
        "eos_id": tokenizer.eos_id,
        "pad_id": tokenizer.pad_id,
    }
    return settings | ({"separate_files": 1} if config.separate_files else {})


def _check_index(index: DocumentIndex, *, config: TextDataConfig, part: Part) -> None:
    """Stop before hours of work if the data is not what it should be."""
    allowed = config.max_bad_fraction * index.num_documents
    if len(index.bad) > allowed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in index.bad_counts.items())
        first = index.bad[0]
        raise DataError(
            f"{len(index.bad)} of {index.num_documents} {config.source} documents cannot be used "
            f"({reasons}; the first is {first.where}: {first.detail}). At most "
            f"data.max_bad_fraction={config.max_bad_fraction} of them may be. Mend or remove them, "
            "or raise the share."
        )
    if not index.part(part):
        raise DataError(
            f"The {part} part has none of {index.num_documents} {config.source} documents "
            f"({len(index.heldout)} are held out). It needs at least 1. Add documents, or change "
            f"data.split.{SETTING_OF[part]}."
        )
