"""Tokenised text on disk: what a prepared folder holds, and whether it is still what is wanted.

Source: DESIGN 6: memory-mapped rows, 16 bits a token where the vocabulary allows.
Limits: one file of tokens; its hash is checked each time the folder is found, or the file is opened
through a node's cache.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phiray.data.manifest import DataManifest, FileEntry, file_entry
from phiray.data.sources.records import BadDocument
from phiray.errors import DataError
from phiray.text.packing import Packing, token_dtype

TOKENS_FILE = "tokens.bin"
"""Rows of `sequence_length` tokens, little-endian."""
MANIFEST_FILE = "manifest.json"
DOCUMENTS_FILE = "documents.jsonl"
"""Each tokenised document, in order: key, first token, number of tokens with EOS, bytes."""
QUARANTINE_FILE = "quarantine.jsonl"
"""Each document that could not be used: where, reason, detail."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedText:
    """A folder of tokenised rows."""

    folder: Path
    manifest: DataManifest

    @property
    def packing(self) -> Packing:
        """How many tokens there are, and the length of a row."""
        return Packing(self.manifest.counts["tokens"], self._size("sequence_length"))

    @property
    def dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        """Type of a token on disk."""
        return token_dtype(self._size("vocab_size"))

    @property
    def tokens_file(self) -> Path:
        """Where the rows are."""
        return self.folder / TOKENS_FILE

    @property
    def tokens_sha256(self) -> str:
        """Hash of the rows, as they were written."""
        return next(file.sha256 for file in self.manifest.outputs if file.path == TOKENS_FILE)

    def tokens(self) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint32]:
        """Map all training tokens into memory, EOS of each document included, padding not.

        Returns:
            (tokens,) uint16 or uint32, read-only.
        """
        stream = np.memmap(self.tokens_file, dtype=self.dtype, mode="r")
        return stream[: self.packing.num_tokens]

    def document_keys(self) -> list[str]:
        """List the keys of the documents that the rows were made of, for the ledger."""
        with (self.folder / DOCUMENTS_FILE).open(encoding="utf-8") as lines:
            return [str(json.loads(line)["key"]) for line in lines]

    def bad_documents(self) -> list[BadDocument]:
        """List the documents that could not be used."""
        with (self.folder / QUARANTINE_FILE).open(encoding="utf-8") as lines:
            return [BadDocument(**json.loads(line)) for line in lines]

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
            _is_whole(file, folder, hashed=hash_tokens or file.path != TOKENS_FILE)
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
