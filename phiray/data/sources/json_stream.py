"""Read a large JSON file item by item, in memory that does not grow with the file.

    for key, index, value in stream_json(path):     # {"images": [{...}, ...]}
        key, index == "images", 0

Source: `json.JSONDecoder.raw_decode`, whose scanner is C. (ijson 3.6 was tried: 100 kB of `[` made
it take all memory of the machine.)
Limits: one item has at most MAX_ITEM_CHARS; of an object's equal keys all are given, in order.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from typing import BinaryIO

from phiray.data.sources.annotations import not_json, refuse_constant
from phiray.images.headers import LFS_HEAD
from phiray.storage import AnyPath, version_of
from phiray.types import Progress

MAX_ITEM_CHARS = 1 << 24
"""Longest item: 16 million characters; the longest conversation of LLaVA's mixes has 30,000."""
_CHUNK_BYTES = 1 << 18
_BLANK = " \t\n\r"
_AFTER_VALUE = frozenset(_BLANK + ",:]}")

Item = tuple[str, int, object]
"""Key of the list in the outer object (empty in an outer list), position in the list, value. A
value that is no list has the position -1."""


def stream_json(path: AnyPath, *, progress: Progress | None = None) -> Iterator[Item]:
    """Give the items of an outer list, or of each list of an outer object.

    Args:
        path: the file.
        progress: told of the bytes that were read.

    Raises:
        DataError: at the place where it stops being JSON; also for a Git LFS pointer, and for text
            that is not UTF-8.
        OSError: if the file cannot be read.
    """
    total = version_of(path).num_bytes

    def tell(num_bytes: int) -> None:
        if progress is not None:
            progress(f"reading {path.name}", num_bytes, total)

    with path.open("rb") as file:
        try:
            yield from _Scanner(file, tell).items()
        except (ValueError, RecursionError) as error:
            raise not_json(path, str(error)) from error


class _Scanner:
    """A window on the text, which moves on with each value."""

    def __init__(self, file: BinaryIO, tell: Callable[[int], None]) -> None:
        self._file = file
        self._tell = tell
        self._num_bytes = 0
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder(parse_constant=refuse_constant).raw_decode
        self._text = ""
        self._at = 0
        self._passed = 0
        """Characters before the window."""
        self._is_end = False

    def items(self) -> Iterator[Item]:
        """Give all items, and see that nothing stands behind them."""
        self._fill()
        if self._text.startswith(LFS_HEAD.decode()):
            raise ValueError("it is a Git LFS pointer, not the file itself")
        first = self._peek()
        if first == "[":
            yield from self._list("")
        elif first == "{":
            yield from self._object()
        else:
            raise self._error("a list or an object")
        if self._peek():
            raise self._error("the end")

    def _object(self) -> Iterator[Item]:
        for index in self._members("{", "}"):
            del index
            key = self._value()
            if not isinstance(key, str):
                raise self._error("a key before it")
            self._take(":")
            if self._peek() == "[":
                yield from self._list(key)
            else:
                yield key, -1, self._value()

    def _list(self, key: str) -> Iterator[Item]:
        for index in self._members("[", "]"):
            yield key, index, self._value()

    def _members(self, start: str, end: str) -> Iterator[int]:
        """Stand before each member in turn; whoever asks for the next has read the last."""
        self._take(start)
        if self._peek() == end:
            self._at += 1
            return
        index = 0
        while True:
            yield index
            index += 1
            if self._peek() != ",":
                self._take(end)
                return
            self._at += 1

    def _value(self) -> object:
        """Read one value; more text is read until it is whole, and its end can be told."""
        self._peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_end:
                    raise self._located(error) from error
            else:
                # `12` may go on as `123`, and of `1.5` what is there so far may be `1.`
                if self._is_end or self._text[end : end + 1] in _AFTER_VALUE:
                    self._at = end
                    return value
            if len(self._text) - self._at > MAX_ITEM_CHARS:
                raise self._error(f"a value of at most {MAX_ITEM_CHARS} characters")
            self._fill()

    def _peek(self) -> str:
        """Return the next character that is not blank; nothing at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANK:
                    return self._text[self._at]
                self._at += 1
            if self._is_end:
                return ""
            self._fill()

    def _take(self, character: str) -> None:
        if self._peek() != character:
            raise self._error(repr(character))
        self._at += 1

    def _fill(self) -> None:
        """Read on: as much again as waits, so that a long value is not scanned too often."""
        waiting = len(self._text) - self._at
        data = self._file.read(max(_CHUNK_BYTES, waiting))
        self._is_end = not data
        self._num_bytes += len(data)
        self._tell(self._num_bytes)
        self._passed += self._at
        self._text = self._text[self._at :] + self._decode(data, self._is_end)
        self._at = 0

    def _error(self, expected: str) -> ValueError:
        found = self._text[self._at : self._at + 20]
        return ValueError(
            f"expected {expected} at character {self._passed + self._at}, found "
            + (repr(found) if found else "the end of the file")
        )

    def _located(self, error: json.JSONDecodeError) -> ValueError:
        return ValueError(f"{error.msg} at character {self._passed + error.pos}")
