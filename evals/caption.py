"""Suite `caption`: does the model say what is in a picture it never saw, and does it look?

Source: likelihood definitions of lm-evaluation-harness; COCO's caption metrics; the two visual
gains and the swap accuracy compare one caption's likelihood under several images.
Limits: one seeded partner image for each image. Blind rows pass through the same code on the same
ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phiray.evals.caption_texts import best_constant_caption, caption_columns
from phiray.evals.cider import IdfTable
from phiray.evals.generation import generate_texts, prompt_candidate
from phiray.evals.results import Sample
from phiray.evals.scoring import (
    Candidate,
    Pixels,
    TextNats,
    score_candidates,
    split_end,
)
from phiray.evals.settings import EvalSettings
from phiray.models.interface import TokenModel
from phiray.text.prompts import caption_prompt, caption_row
from phiray.text.tokenizer import Tokenizer
from phiray.types import Progress

TIE_NATS = 1e-5
"""Likelihoods closer than this are a tie: float32 sums over a caption differ by as much."""


@dataclass(frozen=True)
class CaptionExample:
    """A held-out image with its human captions."""

    image_id: int
    pixels: Pixels
    captions: Sequence[str]


@dataclass(frozen=True)
class CaptionTask:
    """What is scored, the same for every arm."""

    examples: Sequence[CaptionExample]
    train_captions: Sequence[Sequence[str]]
    """Raw captions of each train image: the constant row is chosen among them."""
    idf: IdfTable
    """Frozen, of the train split's tokenised captions."""
    tokenizer: Tokenizer
    num_patches: int
    settings: EvalSettings
    progress: Progress | None = None


@dataclass(frozen=True)
class _Views:
    """One set of images for all examples, under three conditions."""

    own: list[Pixels]
    shuffled: list[Pixels]
    blank: list[Pixels]


def evaluate_captions(
    model: TokenModel, untrained: TokenModel, task: CaptionTask, *, run: str
) -> list[Sample]:
    """Score a run and its blind rows.

    Args:
        model: the run's model, in evaluation mode.
        untrained: the same model with a fresh projector.
        task: what is scored.
        run: name of the run's arm.

    Returns:
        Samples of the arms `run`, `blank`, `shuffled`, `constant` and `untrained`: one for each
        caption (likelihoods) and one for each image (generated text).
    """
    partners = derangement(len(task.examples), seed=task.settings.seed)
    views = _build_views(task.examples, partners)
    own, shuffled, blank = _score_views(model, task, views)
    said = _generate(model, task, views.own, "writing captions")
    # Without an image to tell them apart, all prompts are one: its caption serves for all.
    said_blank = _generate(model, task, views.blank[:1], "writing blind") * len(task.examples)
    constant = best_constant_caption(task.train_captions, idf=task.idf)
    return [
        *_likelihood_samples(task, run, own, against=(shuffled, blank)),
        *_text_samples(task, run, said),
        *_likelihood_samples(task, "blank", blank),
        *_text_samples(task, "blank", said_blank),
        *_likelihood_samples(task, "shuffled", shuffled),
        *_text_samples(task, "shuffled", [said[partner] for partner in partners]),
        *_text_samples(task, "constant", [constant] * len(task.examples)),
        *_untrained_samples(untrained, task, views),
    ]


def derangement(size: int, *, seed: int) -> NDArray[np.int64]:
    """Return a seeded permutation that leaves nothing in its place: one cycle through all."""
    order = np.random.default_rng(seed).permutation(size)
    partners = np.empty(size, dtype=np.int64)
    partners[order] = np.roll(order, 1)
    return partners


def blank_image(pixels: Sequence[Pixels]) -> Pixels:
    """Return the mean-pixel image: every pixel has the mean colour of the given images."""
    means = [image.mean(axis=(1, 2), dtype=np.float64) for image in pixels]
    colour = np.rint(np.mean(means, axis=0)).astype(np.uint8)  # (3,)
    return np.broadcast_to(colour[:, None, None], pixels[0].shape).copy()


def _build_views(examples: Sequence[CaptionExample], partners: NDArray[np.int64]) -> _Views:
    own = [example.pixels for example in examples]
    return _Views(own, [own[partner] for partner in partners], [blank_image(own)] * len(own))


def _score_views(
    model: TokenModel, task: CaptionTask, views: _Views, label: str = ""
) -> tuple[list[TextNats], list[TextNats], list[TextNats]]:
    return (
        _score(model, task, views.own, f"scoring captions{label}"),
        _score(model, task, views.shuffled, f"scoring with another image{label}"),
        _score(model, task, views.blank, f"scoring with a blank image{label}"),
    )


def _score(
    model: TokenModel, task: CaptionTask, pixels: Sequence[Pixels], description: str
) -> list[TextNats]:
    candidates = []
    for example, image in zip(task.examples, pixels, strict=True):
        for caption in example.captions:
            row = caption_row(task.tokenizer, caption, num_patches=task.num_patches)
            candidates.append(Candidate(row.input_ids, row.labels, image))
    nats = score_candidates(
        model,
        candidates,
        batch_size=task.settings.batch_size,
        progress=task.progress,
        description=description,
    )
    return [split_end(tokens) for tokens in nats]


def _generate(
    model: TokenModel, task: CaptionTask, pixels: Sequence[Pixels], description: str
) -> list[str]:
    prompt = caption_prompt(task.tokenizer, num_patches=task.num_patches)
    return generate_texts(
        model,
        [prompt_candidate(prompt, image) for image in pixels],
        tokenizer=task.tokenizer,
        batch_size=task.settings.batch_size,
        max_new_tokens=task.settings.max_new_tokens,
        progress=task.progress,
        description=description,
    )


def _untrained_samples(model: TokenModel, task: CaptionTask, views: _Views) -> list[Sample]:
    own, shuffled, blank = _score_views(model, task, views, ", untrained")
    said = _generate(model, task, views.own, "writing captions, untrained")
    return [
        *_likelihood_samples(task, "untrained", own, against=(shuffled, blank)),
        *_text_samples(task, "untrained", said),
    ]


def _likelihood_samples(
    task: CaptionTask,
    arm: str,
    nats: Sequence[TextNats],
    *,
    against: tuple[Sequence[TextNats], Sequence[TextNats]] | None = None,
) -> list[Sample]:
    """Make one sample for each caption; `against` is the same with shuffled and blank images."""
    samples = []
    captions = [
        (example, number, caption)
        for example in task.examples
        for number, caption in enumerate(example.captions)
    ]
    for index, (example, number, caption) in enumerate(captions):
        columns = likelihood_columns(caption, nats[index])
        if against:
            columns |= _gain_columns(nats[index], against[0][index], against[1][index])
        sample_id = f"{example.image_id}#{number}"
        samples.append(Sample(arm, sample_id, str(example.image_id), columns))
    return samples


def likelihood_columns(text: str, nats: TextNats) -> dict[str, list[float]]:
    """Return what one scored text adds to the likelihood metrics.

    Its bytes are those of the scored string: the stripped text with one blank before it.
    """
    num_bytes = len(f" {text.strip()}".encode())
    return {
        "bits_per_byte": [nats.text, float(num_bytes)],
        "token_perplexity": [nats.text, float(nats.num_tokens)],
        "eos_nats": [nats.eos, 1.0],
    }


def _gain_columns(own: TextNats, shuffled: TextNats, blank: TextNats) -> dict[str, list[float]]:
    gain = shuffled.text - own.text
    win = 0.5 if abs(gain) <= TIE_NATS else float(gain > 0)
    return {
        "visual_gain_shuffled_nats": [gain, 1.0],
        "visual_gain_blank_nats": [blank.text - own.text, 1.0],
        "swap_accuracy": [win, 1.0],
    }


def _text_samples(task: CaptionTask, arm: str, said: Sequence[str]) -> list[Sample]:
    """Make one sample for each image."""
    references = [example.captions for example in task.examples]
    all_columns = caption_columns(said, references, idf=task.idf)
    return [
        Sample(
            arm,
            str(example.image_id),
            str(example.image_id),
            columns,
            {"reference": example.captions[0].strip(), "answer": answer},
        )
        for example, columns, answer in zip(task.examples, all_columns, said, strict=True)
    ]
