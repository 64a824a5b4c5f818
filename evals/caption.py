"""Suite `caption`: does the model say what is in a picture it never saw, and does it look?

Source: likelihood definitions of lm-evaluation-harness; COCO's caption metrics; the two visual
gains and the swap accuracy compare one caption's likelihood under several images.
Limits: one seeded partner image for each image. Blind rows pass through the same code on the same
ids.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phiray.evals.caption_texts import best_constant_caption, caption_columns
from phiray.evals.cider import IdfTable
from phiray.evals.continuations import score_continuations
from phiray.evals.generation import generate_texts, prompt_candidate
from phiray.evals.results import Sample
from phiray.evals.scoring import Pixels, TextNats, split_end
from phiray.evals.settings import EvalSettings
from phiray.models.interface import TokenModel
from phiray.text.prompts import answer_tokens, caption_prompt
from phiray.text.tokenizer import Tokenizer
from phiray.types import Progress

TIE_NATS = 1e-5
"""Likelihoods closer than this are a tie: float32 sums over a caption differ by as much."""
_ID_DIGITS = 8
"""Hexadecimal digits that tell the captions of one image apart."""


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
class _Likelihoods:
    """Surprise of every caption of every example, in their order, under three pictures."""

    own: list[TextNats]
    shuffled: list[TextNats]
    """With the picture of the example's partner."""
    blank: list[TextNats]


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
    own = [example.pixels for example in task.examples]
    found = _score_all(model, task, partners)
    said = _generate(model, task, own, "writing captions")
    # Without an image to tell them apart, all prompts are one: its caption serves for all.
    said_blank = _generate(model, task, [blank_image(own)], "writing blind") * len(own)
    constant = best_constant_caption(task.train_captions, idf=task.idf)
    fresh = _score_all(untrained, task, partners, note=", untrained")
    said_fresh = _generate(untrained, task, own, "writing captions, untrained")
    texts = {
        run: said,
        "blank": said_blank,
        "shuffled": [said[partner] for partner in partners],
        "constant": [constant] * len(own),
        "untrained": said_fresh,
    }
    written = _text_samples(task, texts)
    return [
        *_likelihood_samples(task, run, found.own, against=found),
        *written[run],
        *_likelihood_samples(task, "blank", found.blank),
        *written["blank"],
        *_likelihood_samples(task, "shuffled", found.shuffled),
        *written["shuffled"],
        *written["constant"],
        *_likelihood_samples(task, "untrained", fresh.own, against=fresh),
        *written["untrained"],
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


def _score_all(
    model: TokenModel, task: CaptionTask, partners: NDArray[np.int64], *, note: str = ""
) -> _Likelihoods:
    """Score all captions; each picture runs once for its own captions and for a stranger's."""
    texts = [[answer_tokens(task.tokenizer, c) for c in e.captions] for e in task.examples]
    own = [example.pixels for example in task.examples]
    strangers = np.argsort(partners)  # whose captions are scored with this picture
    both = [[*texts[k], *texts[stranger]] for k, stranger in enumerate(strangers)]
    scored = _score(model, task, own, both, f"scoring captions{note}")
    blind = _score(model, task, [blank_image(own)] * len(own), texts, f"scoring blind{note}")
    return _Likelihoods(
        own=_flatten(scored[k][: len(group)] for k, group in enumerate(texts)),
        shuffled=_flatten(scored[partner][len(texts[partner]) :] for partner in partners),
        blank=_flatten(blind),
    )


def _score(
    model: TokenModel,
    task: CaptionTask,
    pixels: Sequence[Pixels],
    texts: Sequence[Sequence[Sequence[int]]],
    description: str,
) -> list[list[NDArray[np.float64]]]:
    prompt = caption_prompt(task.tokenizer, num_patches=task.num_patches)
    return score_continuations(
        model,
        [prompt_candidate(prompt, image) for image in pixels],
        texts,
        batch_size=task.settings.batch_size,
        progress=task.progress,
        description=description,
    )


def _flatten(groups: Iterable[Sequence[NDArray[np.float64]]]) -> list[TextNats]:
    return [split_end(nats) for group in groups for nats in group]


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


def _likelihood_samples(
    task: CaptionTask,
    arm: str,
    nats: Sequence[TextNats],
    *,
    against: _Likelihoods | None = None,
) -> list[Sample]:
    """Make one sample for each caption; `against` gives the gains over other pictures."""
    samples = []
    captions = [(example, caption) for example in task.examples for caption in example.captions]
    for index, (example, caption) in enumerate(captions):
        columns = likelihood_columns(caption, nats[index])
        columns["caption_nats"] = [nats[index].text + nats[index].eos, 1.0]
        if against:
            columns |= _gain_columns(nats[index], against.shuffled[index], against.blank[index])
        sample_id = caption_sample_id(example.image_id, caption)
        samples.append(Sample(arm, sample_id, str(example.image_id), columns))
    return samples


def caption_sample_id(image_id: int, caption: str) -> str:
    """Name a scored caption by what it says.

    A number would name another caption in a run whose limits left one out before it.
    """
    digest = hashlib.sha256(caption.encode()).hexdigest()
    return f"{image_id}#{digest[:_ID_DIGITS]}"


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


def _text_samples(task: CaptionTask, texts: Mapping[str, Sequence[str]]) -> dict[str, list[Sample]]:
    """Make one sample for each image of each arm; all arms are scored in one go."""
    references = [example.captions for example in task.examples]
    said = [text for group in texts.values() for text in group]
    columns = iter(caption_columns(said, references * len(texts), idf=task.idf))
    return {
        arm: [
            Sample(
                arm,
                str(example.image_id),
                str(example.image_id),
                next(columns),
                {"reference": example.captions[0].strip(), "answer": answer},
            )
            for example, answer in zip(task.examples, group, strict=True)
        ]
        for arm, group in texts.items()
    }
