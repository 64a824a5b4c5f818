"""Where the tokens of a row are: streams of tokens, cut into shards, seen as rows of one length.

Source: LitGPT's and nanotron's fixed blocks; a row is a position (DESIGN 6), so what is needed of
a row follows from its number.
Limits: a row runs on from one shard into the next of its stream, never into another stream.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from phiray.errors import DataError
from phiray.text.packing import count_rows


@dataclass(frozen=True)
class TokenShard:
    """One file of tokens, little-endian."""

    file: str
    """Its name in the prepared folder."""
    num_tokens: int
    """How many count; behind them the file may hold more."""
    sha256: str


@dataclass(frozen=True)
class TokenStream:
    """Tokens that follow one another without a gap; the last of its rows is filled up."""

    source: str
    """The file below the data root that it was made of; empty if it was all of them."""
    shards: tuple[TokenShard, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of all its shards."""
        return sum(shard.num_tokens for shard in self.shards)


@dataclass(frozen=True)
class TokenLayout:
    """Streams one after the other, each beginning a row."""

    streams: tuple[TokenStream, ...]
    sequence_length: int

    @property
    def shards(self) -> list[TokenShard]:
        """The shards of all streams, in order."""
        return [shard for stream in self.streams for shard in stream.shards]

    @property
    def num_tokens(self) -> int:
        """Tokens of all streams, EOS of each document included."""
        return sum(stream.num_tokens for stream in self.streams)

    @property
    def num_rows(self) -> int:
        """Rows needed to hold every token."""
        return int(self.first_rows()[-1])

    @property
    def num_padding(self) -> int:
        """Positions at the ends of streams that hold no token."""
        return self.num_rows * self.sequence_length - self.num_tokens

    def first_rows(self) -> npt.NDArray[np.int64]:
        """Give the first row of each stream, and behind them the number of rows.

        Returns:
            (streams + 1,) int64.
        """
        length = self.sequence_length
        rows = [count_rows(stream.num_tokens, sequence_length=length) for stream in self.streams]
        return np.cumsum([0, *rows], dtype=np.int64)

    def row_ranges(self) -> dict[str, range]:
        """Tell which rows are of which source file; one range under "" where they are mixed."""
        first = self.first_rows().tolist()
        bounds = zip(self.streams, first[:-1], first[1:], strict=True)
        return {stream.source: range(start, stop) for stream, start, stop in bounds}

    def shard_positions(self) -> npt.NDArray[np.int64]:
        """Give the position of each shard's first token: row times length, and place in the row.

        Returns:
            (shards,) int64.
        """
        found: list[int] = []
        for stream, row in zip(self.streams, self.first_rows().tolist()[:-1], strict=True):
            position = row * self.sequence_length
            for shard in stream.shards:
                found.append(position)
                position += shard.num_tokens
        return np.array(found, dtype=np.int64)

    def stream_ends(self) -> npt.NDArray[np.int64]:
        """Give the position behind each stream's last token.

        Returns:
            (streams,) int64.
        """
        tokens = np.array([stream.num_tokens for stream in self.streams], dtype=np.int64)
        return self.first_rows()[:-1] * self.sequence_length + tokens


def streams_to_json(streams: Sequence[TokenStream]) -> str:
    """Write streams for people and programs."""
    return json.dumps([asdict(stream) for stream in streams], indent=1) + "\n"


def streams_from_json(text: str) -> tuple[TokenStream, ...]:
    """Read what `streams_to_json` wrote.

    Raises:
        DataError: if it is anything else.
    """
    try:
        return tuple(
            TokenStream(
                str(values["source"]), tuple(TokenShard(**shard) for shard in values["shards"])
            )
            for values in json.loads(text)
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"The list of token shards cannot be read: {error}. Expected what phiray wrote. Delete "
            "the folder it lies in; it is made again."
        ) from error
