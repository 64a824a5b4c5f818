"""Small text data for tests: a tokenizer, books, rows and tokens, made on the spot."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from phiray.data.cache.node_cache import NodeCache
from phiray.data.prepare.prepared_text import PreparedText
from phiray.data.token_layout import TokenLayout, TokenShard, TokenStream
from phiray.data.token_rows import TokenRows

SENTENCE = "A small red circle is left of the blue square. "
EOS = "<|endoftext|>"


def build_tokenizer_json(*, vocab_size: int = 300, eos_token: str = EOS) -> str:
    """Train a byte-level BPE on one sentence; every byte is in its vocabulary."""
    fast = FastTokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[eos_token],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator([SENTENCE] * 4, trainer)
    return str(fast.to_str())


def write_tokenizer(root: Path) -> Path:
    """Write root/tokenizer/tokenizer.json; return its folder."""
    folder = root / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(build_tokenizer_json(), encoding="utf-8")
    return folder


def book_text(number: int, body: str) -> str:
    """Wrap a body in the header and footer of a Gutenberg file."""
    return (
        f"The Project Gutenberg EBook of Tests\n\nRelease Date: May 1, 2001 [EBook #{number}]\n\n"
        "*** START OF THIS PROJECT GUTENBERG EBOOK TESTS ***\n\n"
        f"{body}\n\n"
        "End of the Project Gutenberg EBook of Tests\n\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK TESTS ***\n\n"
        "http://www.gutenberg.org/license\n"
    )


def write_books(root: Path, bodies: dict[int, str]) -> Path:
    """Write root/gutenberg/books/pgN.txt for each number; return the folder."""
    folder = root / "gutenberg" / "books"
    folder.mkdir(parents=True, exist_ok=True)
    for number, body in bodies.items():
        (folder / f"pg{number}.txt").write_text(book_text(number, body), encoding="utf-8")
    return folder


def write_redpajama(root: Path, texts: Sequence[str], *, name: str = "cc_sample.jsonl") -> Path:
    """Write root/redpajama/NAME with one row for each text; return the file."""
    folder = root / "redpajama"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    lines = [json.dumps({"text": text, "meta": {"language": "en"}}) for text in texts]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def write_token_rows(
    folder: Path,
    streams: Sequence[Sequence[Sequence[int]]],
    *,
    sequence_length: int,
    dtype: str = "uint16",
    cache: NodeCache | None = None,
) -> TokenRows:
    """Write streams of shards of tokens, each with two more tokens than count."""
    made = []
    for number, shards in enumerate(streams):
        files = []
        for place, tokens in enumerate(shards):
            data = np.array([*tokens, 7, 7], dtype=dtype).tobytes()
            name = f"{number}-{place}.bin"
            (folder / name).write_bytes(data)
            files.append(TokenShard(name, len(tokens), hashlib.sha256(data).hexdigest()))
        made.append(TokenStream(f"{number}.jsonl", tuple(files)))
    layout = TokenLayout(tuple(made), sequence_length)
    return TokenRows(str(folder), layout, dtype=dtype, cache=cache)


def all_tokens(prepared: PreparedText) -> npt.NDArray[np.integer]:
    """Return the training tokens of a prepared folder in one array."""
    return np.concatenate(list(prepared.token_arrays()))
