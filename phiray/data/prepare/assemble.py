"""Put finished shards together: list their documents, and say what the folder holds.

Source: DESIGN 6 and 9: hashes of all that was written, counts of all that was left out.
Limits: shards are not read again: they were hashed while they were written, or found.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from phiray.data.manifest import DataManifest, file_entry
from phiray.data.prepare.prepared_text import (
    DOCUMENTS_FILE,
    MANIFEST_FILE,
    QUARANTINE_FILE,
    STREAMS_FILE,
)
from phiray.data.prepare.shards import ShardWriter
from phiray.data.prepare.streams import MadeStream
from phiray.data.sources.documents import DocumentIndex
from phiray.data.split import Part
from phiray.data.token_layout import TokenLayout, TokenStream, streams_to_json


@dataclass(frozen=True)
class _Listed:
    """What the documents of all streams add up to."""

    layout: TokenLayout
    num_documents: int
    num_bytes: int


def assemble(
    made: Sequence[MadeStream],
    writer: ShardWriter,
    *,
    plan: DataManifest,
    index: DocumentIndex,
    part: Part,
    sequence_length: int,
) -> DataManifest:
    """Write all but the tokens, and delete what does not belong to the folder.

    Args:
        made: the finished streams.
        writer: that made them, in the folder.
        plan: what the tokens were made of.
        index: of all documents.
        part: that was tokenised.
        sequence_length: of the rows.

    Raises:
        OSError: if a file cannot be written.
    """
    folder = writer.folder
    listed = _list_documents(folder / DOCUMENTS_FILE, made, writer, sequence_length=sequence_length)
    _write_lines(folder / QUARANTINE_FILE, (asdict(bad) for bad in index.bad))
    text = streams_to_json(listed.layout.streams)
    (folder / STREAMS_FILE).write_text(text, encoding="utf-8")
    files = {record.tokens.path: record.tokens for stream in made for _, record in stream.made}
    names = (DOCUMENTS_FILE, QUARANTINE_FILE, STREAMS_FILE)
    manifest = replace(
        plan,
        counts=_counts(listed, index=index, part=part),
        bad_counts=index.bad_counts,
        outputs=(
            *(files[shard.file] for shard in listed.layout.shards),
            *(file_entry(folder / name, root=folder) for name in names),
        ),
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    wanted = {MANIFEST_FILE, *(file.path for file in manifest.outputs)}
    for file in folder.iterdir():
        if file.name not in wanted:
            file.unlink()
    return manifest


def _list_documents(
    file: Path, made: Sequence[MadeStream], writer: ShardWriter, *, sequence_length: int
) -> _Listed:
    """Write down where each document is, and add up what there is."""
    streams: list[TokenStream] = []
    num_documents = num_bytes = 0
    with file.open("w", encoding="utf-8") as lines:
        for stream in made:
            first = TokenLayout(tuple(streams), sequence_length).num_rows * sequence_length
            num_tokens: Counter[int] = Counter()
            for shard, document in stream.documents(writer):
                num_tokens[shard] += document.num_tokens
                num_documents += 1
                num_bytes += document.num_bytes
                placed = replace(document, start=first + document.start)
                lines.write(json.dumps(asdict(placed)) + "\n")
            streams.append(stream.stream(num_tokens))
    return _Listed(TokenLayout(tuple(streams), sequence_length), num_documents, num_bytes)


def _counts(listed: _Listed, *, index: DocumentIndex, part: Part) -> Mapping[str, int]:
    return {
        "rows": listed.layout.num_rows,
        "tokens": listed.layout.num_tokens,
        "padding": listed.layout.num_padding,
        "documents": listed.num_documents,
        "bytes": listed.num_bytes,
        "beyond_limit_documents": len(index.part(part)) - listed.num_documents,
        "heldout_documents": len(index.heldout),
        "duplicate_documents": len(index.duplicates),
        "bad_documents": len(index.bad),
    }


def _write_lines(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
