"""Suite `instruct`: does the model answer questions about pictures it never saw?

Source: likelihood of the reference answers given the gold history (lm-evaluation-harness's
loglikelihood); VQA's normalisation for exact match; COCO's ROUGE-L.
Limits: answers are generated greedily, each after the gold history; turns that do not fit into
`max_length` are not scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from phiray.evals.caption import blank_image, likelihood_columns
from phiray.evals.generation import generate_texts, prompt_candidate
from phiray.evals.normalise import is_exact_match, is_short_answer
from phiray.evals.results import Sample
from phiray.evals.rouge import rouge_l
from phiray.evals.scoring import Candidate, Pixels, score_candidates, split_answers, split_end
from phiray.evals.settings import EvalSettings
from phiray.evals.tokenize_captions import tokenize_captions
from phiray.models.interface import TokenModel
from phiray.text.prompts import Turn, conversation_prompt, conversation_row, strip_image_marker
from phiray.text.tokenizer import Tokenizer
from phiray.types import Progress


@dataclass(frozen=True)
class InstructExample:
    """A held-out conversation about one image."""

    conversation_id: str
    image_id: int
    pixels: Pixels
    turns: Sequence[Turn]


@dataclass(frozen=True)
class InstructTask:
    """What is scored, the same for every arm."""

    examples: Sequence[InstructExample]
    tokenizer: Tokenizer
    num_patches: int
    max_length: int
    system: str
    """Sentence before the first turn, as in training."""
    settings: EvalSettings
    progress: Progress | None = None


@dataclass(frozen=True)
class _Answer:
    example: InstructExample
    number: int
    """Which turn of the conversation."""
    prompt: Candidate


def evaluate_answers(model: TokenModel, task: InstructTask, *, run: str) -> list[Sample]:
    """Score a run, and the same run with blank images.

    Args:
        model: in evaluation mode.
        task: what is scored.
        run: name of the run's arm.

    Returns:
        Samples of the arms `run` and `blank`, one for each answer.
    """
    own = [example.pixels for example in task.examples]
    blank = [blank_image(own)] * len(own)
    return [*_arm_samples(model, task, own, run), *_arm_samples(model, task, blank, "blank")]


def _arm_samples(
    model: TokenModel, task: InstructTask, pixels: Sequence[Pixels], arm: str
) -> list[Sample]:
    rows = _rows(task, pixels)
    nats = score_candidates(
        model,
        rows,
        batch_size=task.settings.batch_size,
        progress=task.progress,
        description=f"scoring answers, {arm}",
    )
    parts = [split_answers(row.labels, tokens) for row, tokens in zip(rows, nats, strict=True)]
    answers = _answers(task, pixels, [len(part) for part in parts])
    said = generate_texts(
        model,
        [answer.prompt for answer in answers],
        tokenizer=task.tokenizer,
        batch_size=task.settings.batch_size,
        max_new_tokens=task.settings.max_new_tokens,
        progress=task.progress,
        description=f"writing answers, {arm}",
    )
    references = [answer.example.turns[answer.number].answer.strip() for answer in answers]
    rouge = rouge_l(tokenize_captions(said), [[text] for text in tokenize_captions(references)])
    flat = [tokens for part in parts for tokens in part]
    samples = []
    for index, answer in enumerate(answers):
        reference, text = references[index], said[index]
        columns = {
            "answer_nats": [float(flat[index].sum()), 1.0],
            "rouge_l": [float(rouge[index]), 1.0],
            **likelihood_columns(reference, split_end(flat[index])),
        }
        if is_short_answer(reference):
            columns["exact_match"] = [float(is_exact_match(text, reference)), 1.0]
        samples.append(_sample(arm, answer, columns, text))
    return samples


def _rows(task: InstructTask, pixels: Sequence[Pixels]) -> list[Candidate]:
    rows = []
    for example, image in zip(task.examples, pixels, strict=True):
        row = conversation_row(
            task.tokenizer,
            example.turns,
            num_patches=task.num_patches,
            max_length=task.max_length,
            system=task.system,
        )
        rows.append(Candidate(row.input_ids, row.labels, image))
    return rows


def _answers(
    task: InstructTask, pixels: Sequence[Pixels], num_answers: Sequence[int]
) -> list[_Answer]:
    """Make the prompt of each answer that was scored; turns that were left out come last."""
    answers = []
    for example, image, count in zip(task.examples, pixels, num_answers, strict=True):
        for number in range(count):
            tokens = conversation_prompt(
                task.tokenizer,
                example.turns[number].question,
                num_patches=task.num_patches,
                history=example.turns[:number],
                system=task.system,
            )
            answers.append(_Answer(example, number, prompt_candidate(tokens, image)))
    return answers


def _sample(arm: str, answer: _Answer, columns: dict[str, list[float]], text: str) -> Sample:
    turn = answer.example.turns[answer.number]
    return Sample(
        arm,
        f"{answer.example.conversation_id}#{answer.number}",
        str(answer.example.image_id),
        columns,
        {
            "question": strip_image_marker(turn.question),
            "reference": turn.answer.strip(),
            "answer": text,
        },
    )
