"""Web rows about scenes, in the schemas of RedPajama-Data-1T-Sample.

Source: the first rows of each source in togethercomputer/RedPajama-Data-1T-Sample.
Limits: texts share the grammar of the books, with other framing.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from phiray.world.books import NAMES, tell_story
from phiray.world.phrases import Material
from phiray.world.prose import (
    article,
    dialogue,
    fact,
    notes,
    notice,
    saying,
    sentence,
    stock,
)
from phiray.world.scenes import Scene

MetaValue = str | int | float
RowText = Callable[[Scene, random.Random], str]
MIN_PASSAGES, MAX_PASSAGES = 1, 3
FILE_NAMES = {
    "arxiv": "arxiv_sample.jsonl",
    "book": "book_sample.jsonl",
    "c4": "c4_sample.jsonl",
    "cc": "cc_2019-30_sample.jsonl",
    "github": "github_sample.jsonl",
    "stackexchange": "stackexchange_sample.jsonl",
    "wikipedia": "wikipedia_sample.jsonl",
}


@dataclass(frozen=True)
class WebRow:
    """One row: its text, and the line of JSON that holds it (without the newline)."""

    text: str
    line: str


def write_row(source: str, number: int, *, rng: random.Random, material: Material) -> WebRow:
    """Write one row.

    Args:
        source: a key of FILE_NAMES.
        number: serial number, used in addresses.
        rng: source of all choices.
        material: gives the scenes that the row may tell of.
    """
    passage = PASSAGES[source]
    passages = [
        material.passage(passage, rng) for _ in range(rng.randint(MIN_PASSAGES, MAX_PASSAGES))
    ]
    text = "\n\n".join(passages)
    return WebRow(text=text, line=json.dumps(_record(source, number, text=text, rng=rng)))


def _arxiv(scene: Scene, rng: random.Random) -> str:
    return (
        f"\\section{{Picture}} Data: {stock(scene, rng)}.\n"
        f"In this work, {saying(scene, rng)} {fact(rng.choice(scene.things), rng)}"
    )


def _book(scene: Scene, rng: random.Random) -> str:
    return tell_story(scene, rng, hero=rng.choice(NAMES))


def _github(scene: Scene, rng: random.Random) -> str:
    return f"# {notes(scene, rng)}\ntext = '{sentence(scene, rng)}'\nprint(text)"


PASSAGES: dict[str, RowText] = {
    "arxiv": _arxiv,
    "book": _book,
    "c4": notice,
    "cc": notice,
    "github": _github,
    "stackexchange": dialogue,
    "wikipedia": article,
}


def _record(
    source: str, number: int, *, text: str, rng: random.Random
) -> dict[str, MetaValue | dict[str, MetaValue]]:
    if source == "cc":
        share = round(rng.uniform(0.5, 1.0), 6)
        return {
            "pred_label": "__label__cc",
            "pred_label_prob": share,
            "wiki_prob": round(1 - share, 6),
            "text": text,
            "source": f"cc/2019-30/en_head_0000.json.gz/line{number}",
        }
    return {"text": text, "meta": _meta(source, number, text=text)}


def _meta(source: str, number: int, *, text: str) -> dict[str, MetaValue]:
    site = f"https://{source}.example/{number}"
    if source == "book":
        return {
            "short_book_title": f"Pictures, volume {number}",
            "publication_date": 1916,
            "url": site,
        }
    if source == "github":
        return {
            "source": "github",
            "repo_name": f"example/{number}",
            "path": "pictures.py",
            "license": "mit",
            "line_count": text.count("\n") + 1,
            "size": str(len(text)),
        }
    if source == "arxiv":
        return {"arxiv_id": f"1607.{number:05d}", "language": "en", "url": site}
    if source == "wikipedia":
        return {"title": f"Picture {number}", "url": site, "language": "en"}
    return {"url": site, "language": "en", "source": source, "timestamp": "2019-04-21T10:07:13Z"}
