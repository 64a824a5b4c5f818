"""Tokenise the documents of a data set once, into rows on disk; find them again ever after.

Source: DESIGN 6: whole documents (splitting one changes its tokens), EOS after each document.
Limits: one process, all cores through the tokenizer's own threads (335 thousand tokens a second on
two); inputs are hashed at each start, about 1 GB/s.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from phiray.config.data import TextDataConfig
from phiray.data.atomic import error_from_write, whole_folder
from phiray.data.manifest import DataManifest, file_entries, file_entry
from phiray.data.prepare.prepared_text import (
    DOCUMENTS_FILE,
    MANIFEST_FILE,
    QUARANTINE_FILE,
    TOKENS_FILE,
    PreparedText,
    find_prepared,
)
from phiray.data.sources.documents import (
    DocumentIndex,
    DocumentRef,
    index_documents,
    read_document,
    source_files,
)
from phiray.data.split import SETTING_OF, Part
from phiray.errors import DataError
from phiray.text.packing import Packing, token_dtype
from phiray.text.tokenizer import Tokenizer
from phiray.types import Progress

_FORMAT = 1
"""To be raised when the files of a prepared folder change their meaning."""
_BATCH_BYTES = 2_000_000
"""Text tokenised at once: enough to keep the cores busy, little to throw away at the limit."""
_BATCH_DOCUMENTS = 256


@dataclass(frozen=True)
class _Tokenised:
    """Where a document stands in the stream of tokens."""

    key: str
    start: int
    num_tokens: int
    num_bytes: int


@dataclass(frozen=True)
class _Job:
    """What tokenising needs to know."""

    config: TextDataConfig
    part: Part
    root: Path
    tokenizer: Tokenizer
    progress: Progress | None


def prepare_text(
    config: TextDataConfig,
    *,
    part: Part = "train",
    hash_tokens: bool = True,
    progress: Progress | None = None,
) -> PreparedText:
    """Tokenise a part of a data set, or find it as it was tokenised before.

    Args:
        config: of the data.
        part: of it.
        hash_tokens: whether tokens that are found are read, too: who reads them through a node's
            cache verifies them there, and would fetch them twice.
        progress: told of what takes long.

    Raises:
        DataError: if inputs are missing (66) or too many are unusable (65), or if the folder
            cannot be written (73, 74, 77).
    """
    root = Path(config.root)
    job = _Job(config, part, root, Tokenizer.load(root / config.tokenizer), progress)
    plan = _plan(job)
    folder = root / config.prepared / f"{config.source}-{plan.fingerprint[:16]}"
    was_there = folder.exists()
    found = find_prepared(folder, fingerprint=plan.fingerprint, hash_tokens=hash_tokens)
    if found is not None:
        return found
    if was_there:  # and refused; what another worker finishes from here on must stay
        _clear(folder)
    index = index_documents(config.source, root, split=config.split, progress=progress)
    _check_index(index, config=config, part=part)
    with whole_folder(folder, setting="data.prepared") as partial:
        manifest = _write(partial, plan=plan, index=index, job=job)
    return PreparedText(folder, manifest)


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
    return {
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


def _write(partial: Path, *, plan: DataManifest, index: DocumentIndex, job: _Job) -> DataManifest:
    refs = index.part(job.part)
    tokenised = _write_tokens(partial / TOKENS_FILE, refs=refs, job=job)
    num_tokens = sum(document.num_tokens for document in tokenised)
    packing = Packing(num_tokens, job.config.sequence_length)
    _write_lines(partial / DOCUMENTS_FILE, [asdict(document) for document in tokenised])
    _write_lines(partial / QUARANTINE_FILE, [asdict(bad) for bad in index.bad])
    names = (TOKENS_FILE, DOCUMENTS_FILE, QUARANTINE_FILE)
    manifest = replace(
        plan,
        counts={
            "rows": packing.num_rows,
            "tokens": num_tokens,
            "padding": packing.num_padding,
            "documents": len(tokenised),
            "bytes": sum(document.num_bytes for document in tokenised),
            "beyond_limit_documents": len(refs) - len(tokenised),
            "heldout_documents": len(index.heldout),
            "duplicate_documents": len(index.duplicates),
            "bad_documents": len(index.bad),
        },
        bad_counts=index.bad_counts,
        outputs=tuple(file_entry(partial / name, root=partial) for name in names),
    )
    (partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _write_tokens(file: Path, *, refs: Sequence[DocumentRef], job: _Job) -> list[_Tokenised]:
    """Append whole documents until all are done, or the limit is reached; pad the last row."""
    dtype = token_dtype(job.tokenizer.vocab_size).newbyteorder("<")
    limit = job.config.max_train_tokens
    written: list[_Tokenised] = []
    num_tokens = 0
    with file.open("wb") as stream:
        for document, tokens in _tokenise(refs, job=job):
            stream.write(np.asarray(tokens, dtype=dtype).tobytes())  # `tofile` hides a full disk
            written.append(_Tokenised(document.key, num_tokens, len(tokens), document.num_bytes))
            num_tokens += len(tokens)
            if limit is not None and num_tokens >= limit:
                break
        num_padding = Packing(num_tokens, job.config.sequence_length).num_padding
        stream.write(np.full(num_padding, job.tokenizer.pad_id, dtype=dtype).tobytes())
    if job.progress is not None:
        job.progress("tokenise", len(refs), len(refs))
    return written


def _tokenise(refs: Sequence[DocumentRef], *, job: _Job) -> Iterator[tuple[DocumentRef, list[int]]]:
    """Give each document's tokens, EOS at the end."""
    num_done = 0
    for batch in _batches(refs):
        if job.progress is not None:
            job.progress("tokenise", num_done, len(refs))
        texts = [read_document(job.config.source, job.root, ref=ref).text for ref in batch]
        for ref, tokens in zip(batch, job.tokenizer.encode_batch(texts), strict=True):
            yield ref, [*tokens, job.tokenizer.eos_id]
        num_done += len(batch)


def _batches(refs: Sequence[DocumentRef]) -> Iterator[list[DocumentRef]]:
    batch: list[DocumentRef] = []
    num_bytes = 0
    for ref in refs:
        batch.append(ref)
        num_bytes += ref.num_bytes
        if num_bytes >= _BATCH_BYTES or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _write_lines(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
