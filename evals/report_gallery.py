"""Held-out pictures beside what people and models said of them.

Limits: shows only pictures that an evaluation kept (see `gallery.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phiray.evals.collect import EvaluatedRun
from phiray.evals.gallery import find_picture, select_ids
from phiray.evals.results import Sample
from phiray.evals.settings import EvalSettings

Encode = Callable[[Path], str]
"""Turns a picture's file into something that a page can show."""

_BLIND_ARM = "blank"
_TITLES = {"caption": "Pictures it never saw", "instruct": "Questions it never saw"}


@dataclass(frozen=True)
class Answer:
    """What one arm said."""

    arm: str
    text: str
    is_blind: bool
    is_right: bool | None
    """By exact match; None where that is not asked."""


@dataclass(frozen=True)
class Exchange:
    """One question, or none, with its reference and the answers of all arms."""

    question: str | None
    reference: str
    answers: list[Answer]


@dataclass(frozen=True)
class Card:
    """One picture."""

    picture: str
    name: str
    exchanges: list[Exchange]


@dataclass(frozen=True)
class Gallery:
    """The pictures of one suite."""

    suite: str
    title: str
    num_candidates: int
    """From how many examples the cards were chosen."""
    cards: list[Card]


def build_galleries(runs: Sequence[EvaluatedRun], *, encode: Encode) -> list[Gallery]:
    """Build a gallery for each suite with pictures, with the answers of all runs."""
    galleries = []
    for suite, title in _TITLES.items():
        scored = [run for run in runs if suite in run.suites]
        if not scored:
            continue
        gallery = _build_gallery(suite, title, scored, encode)
        if gallery.cards:
            galleries.append(gallery)
    return galleries


def _build_gallery(suite: str, title: str, runs: Sequence[EvaluatedRun], encode: Encode) -> Gallery:
    first = runs[0]
    settings = EvalSettings.model_validate(first.suites[suite].data["settings"])
    said = _answers_by_sample(suite, runs)
    own = [s for s in first.samples[suite] if s.arm == first.name and s.texts]
    by_example: dict[str, list[Sample]] = {}
    for sample in own:
        by_example.setdefault(_example_id(sample), []).append(sample)
    cards = []
    for name in select_ids(by_example, seed=settings.seed, size=settings.gallery_size):
        samples = by_example[name]
        picture = find_picture(first.gallery_folder(suite), samples[0].cluster)
        if picture is not None:
            exchanges = [_exchange(sample, said[sample.sample_id]) for sample in samples]
            cards.append(Card(encode(picture), name, exchanges))
    return Gallery(suite, title, len(by_example), cards)


def _answers_by_sample(suite: str, runs: Sequence[EvaluatedRun]) -> dict[str, list[Answer]]:
    """Gather what each run said, and what the first one said blindly."""
    found: dict[str, list[Answer]] = {}
    for index, run in enumerate(runs):
        shown = {run.name, _BLIND_ARM} if index == 0 else {run.name}
        for sample in run.samples[suite]:
            if sample.arm in shown and sample.texts:
                found.setdefault(sample.sample_id, []).append(_answer(sample))
    # Blind answers come last.
    return {name: sorted(answers, key=lambda a: a.is_blind) for name, answers in found.items()}


def _answer(sample: Sample) -> Answer:
    match = sample.columns.get("exact_match")
    return Answer(
        arm=sample.arm,
        text=sample.texts["answer"],
        is_blind=sample.arm == _BLIND_ARM,
        is_right=None if match is None else match[0] > 0,
    )


def _exchange(sample: Sample, answers: list[Answer]) -> Exchange:
    return Exchange(sample.texts.get("question"), sample.texts["reference"], answers)


def _example_id(sample: Sample) -> str:
    return sample.sample_id.partition("#")[0]
