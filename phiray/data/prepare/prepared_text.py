"""Tokenised text on disk: what a prepared folder holds, and whether it is still what is wanted.

Source: DESIGN 6: memory-mapped rows, 16 bits a token where the vocabulary allows.
Limits: hashes of shards are checked each time the folder is found, or when one is opened through a
node's cache.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phiray.data.manifest import DataManifest, FileEntry, file_entry
from phiray.data.sources.records import BadDocument
from phiray.data.token_layout import (
    TokenLayout,
    TokenShard,
    TokenStream,
    streams_from_json,
)
from phiray.errors import DataError
from phiray.text.packing import token_dtype

STREAMS_FILE = "streams.json"
"""Which files of tokens, little-endian, make up which stream, and how many tokens of each count."""
ONE_TOKENS_FILE = "tokens.bin"
"""All tokens of a folder of an earlier version, which has no STREAMS_FILE."""
_TOKENS_SUFFIX = ".bin"
MANIFEST_FILE = "manifest.json"
DOCUMENTS_FILE = "documents.jsonl"
"""Each tokenised document, in order: key, first token, number of tokens with EOS, bytes. Tokens are
counted with the padding of earlier streams: divided by `sequence_length` they give the row."""
QUARANTINE_FILE = "quarantine.jsonl"
"""Each document that could not be used: where, reason, detail."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedText:
    """A folder of tokenised rows."""

    folder: Path
    manifest: DataManifest

    def read_layout(self) -> TokenLayout:
        """Read where the tokens of each row are.

        Raises:
            DataError: if that cannot be read.
        """
        return TokenLayout(self._streams(), self._size("sequence_length"))

    @property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """Type of a token on disk."""
        return token_dtype(self._size("vocab_size"))

    def row_ranges(self) -> dict[str, range]:
        """Tell which rows are of which file below the data root, if files were kept apart.

        Returns:
            One range under "" if they were not.
        """
        return self.read_layout().row_ranges()

    def token_arrays(self) -> Iterator[npt.NDArray[np.uint16] | npt.NDArray[np.uint32]]:
        """Map the tokens of one shard after the other, EOS of each document included, padding not.

        Yields:
            (tokens,) uint16 or uint32, read-only.
        """
        for shard in self.read_layout().shards:
            tokens = np.memmap(self.folder / shard.file, dtype=self.dtype, mode="r")
            yield tokens[: shard.num_tokens]

    def document_keys(self) -> list[str]:
        """List the keys of the documents that the rows were made of, for the ledger."""
        with (self.folder / DOCUMENTS_FILE).open(encoding="utf-8") as lines:
            return [str(json.loads(line)["key"]) for line in lines]

    def bad_documents(self) -> list[BadDocument]:
        """List the documents that could not be used."""
        with (self.folder / QUARANTINE_FILE).open(encoding="utf-8") as lines:
            return [BadDocument(**json.loads(line)) for line in lines]

    def _streams(self) -> tuple[TokenStream, ...]:
        outputs = {file.path: file for file in self.manifest.outputs}
        if STREAMS_FILE in outputs:
            return streams_from_json((self.folder / STREAMS_FILE).read_text(encoding="utf-8"))
        num_tokens, sha256 = self.manifest.counts["tokens"], outputs[ONE_TOKENS_FILE].sha256
        return (TokenStream("", (TokenShard(ONE_TOKENS_FILE, num_tokens, sha256),)),)

    def _size(self, name: str) -> int:
        value = self.manifest.settings[name]
        assert isinstance(value, int)
        return value


def find_prepared(
    folder: Path, *, fingerprint: str, hash_tokens: bool = True
) -> PreparedText | None:
    """Open a prepared folder if it is there, made of the same inputs, and undamaged.

    Args:
        folder: where it should be.
        fingerprint: of what it should be made of.
        hash_tokens: whether to read the tokens, too; otherwise their size is enough.

    Returns:
        None if it has to be made; the log says why where a folder was there.
    """
    manifest_file = folder / MANIFEST_FILE
    if not manifest_file.is_file():
        return None
    try:
        manifest = DataManifest.from_json(manifest_file.read_text(encoding="utf-8"))
        is_whole = all(
            _is_whole(file, folder, hashed=hash_tokens or not file.path.endswith(_TOKENS_SUFFIX))
            for file in manifest.outputs
        )
    except DataError as error:
        _log.warning("event=prepared_text_broken folder=%s why=%s", folder, error.message)
        return None
    if manifest.fingerprint != fingerprint or not is_whole:
        _log.warning("event=prepared_text_changed folder=%s", folder)
        return None
    return PreparedText(folder, manifest)


def _is_whole(file: FileEntry, folder: Path, *, hashed: bool) -> bool:
    """Compare a file with what was written: its size, and its hash where that is wanted."""
    path = folder / file.path
    if hashed:
        return file_entry(path, root=folder) == file
    return path.is_file() and path.stat().st_size == file.num_bytes
