"""Keep held-out sentences out of training texts.

Limits: compares words in order, without case and punctuation; a sentence shorter than
MIN_WORDS words is no sentence but an answer such as `red`, which any text may hold.
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from phiray.world.scenes import Combination, Scene, draw_scene

MIN_WORDS = 4
_WORD = re.compile(r"[a-z0-9']+")


def words(text: str) -> list[str]:
    """Split a text into lower-case words."""
    return _WORD.findall(text.lower())


class PhraseGuard:
    """Finds whole sentences of a set inside longer texts."""

    def __init__(self, sentences: Iterable[str]) -> None:
        """Index the sentences by their first words."""
        self._tails: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
        for sentence in sentences:
            parts = tuple(words(sentence))
            if len(parts) >= MIN_WORDS:
                self._tails[parts[:MIN_WORDS]].add(parts)

    def occurs_in(self, text: str) -> bool:
        """Tell whether any of the sentences stands in the text."""
        parts = words(text)
        for start in range(len(parts) - MIN_WORDS + 1):
            for tail in self._tails.get(tuple(parts[start : start + MIN_WORDS]), ()):
                if tuple(parts[start : start + len(tail)]) == tail:
                    return True
        return False


class Material:
    """What texts may be made of: scenes without reserved combinations, no held-out sentence."""

    def __init__(self, reserved: frozenset[Combination], guard: PhraseGuard) -> None:
        """Keep what must not be told."""
        self._reserved = reserved
        self._guard = guard

    def passage(self, write: Callable[[Scene, random.Random], str], rng: random.Random) -> str:
        """Write about a new scene, again until no held-out sentence is in the text."""
        while True:
            text = write(draw_scene(rng, self._reserved), rng)
            if not self._guard.occurs_in(text):
                return text
