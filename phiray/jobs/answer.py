"""One answer of a trained model: a caption, a reply to a question, or a text that goes on.

Source: the prompts are those of training (`text/prompts.py`); decoding is greedy.
Limits: one image, one question, on the CPU. An answer ends at `max_new_tokens`, or where the model
has no more positions.
"""

from pathlib import Path

from phiray.config.stages import InstructConfig
from phiray.errors import ConfigError, DataError, ExitCode, exit_code_of
from phiray.evals.generation import generate_texts
from phiray.evals.scoring import Candidate, Pixels
from phiray.images.decode import ImageError, decode_image
from phiray.images.paths import MAX_BYTES
from phiray.stages.restore import LoadedModel, generating_model, load_model
from phiray.text.prompts import caption_prompt, conversation_prompt
from phiray.types import IGNORE_INDEX, Progress

_DESCRIPTION = "answering"


def answer(
    checkpoint: Path,
    question: str | None,
    *,
    image: Path | None,
    max_new_tokens: int,
    progress: Progress | None = None,
) -> str:
    """Load a checkpoint and let it answer.

    Args:
        checkpoint: a run or a checkpoint of any stage.
        question: for `instruct`; the beginning of a text for `scratch` and `litgpt`; none for
            `align`, which writes captions.
        image: for `align` and `instruct`.
        max_new_tokens: longest answer; shorter if the model has no more positions.
        progress: told when the model begins, and ends.

    Raises:
        ConfigError: if the stage needs something that was not given, or cannot use it.
        DataError: 66 if there is no image at the path, 77 if it may not be read; 65 if it is
            broken, or the prompt is longer than the model's positions.
    """
    _check_text(question)
    loaded = load_model(checkpoint)
    prompt = build_prompt(loaded, question, image=image)
    if progress is not None:
        progress(_DESCRIPTION, 0, 1)
    texts = generate_texts(
        generating_model(loaded),
        [prompt],
        tokenizer=loaded.tokenizer,
        batch_size=1,
        max_new_tokens=max_new_tokens,
        progress=progress,
        description=_DESCRIPTION,
    )
    return texts[0]


def build_prompt(loaded: LoadedModel, question: str | None, *, image: Path | None) -> Candidate:
    """Build the one row that the model continues."""
    vision, config = loaded.description.vision, loaded.config
    if vision is None:
        _check_text_only(question, image, stage=config.stage)
        tokens = loaded.tokenizer.encode(str(question))
        return Candidate(tokens, [IGNORE_INDEX] * len(tokens))
    if isinstance(config, InstructConfig):
        if not question:
            raise ConfigError(
                "There is no question. A checkpoint of `instruct` answers one. Add it, e.g. "
                '"What is in the picture?".',
                exit_code=ExitCode.USAGE,
            )
        num_patches = vision.num_patches if image else 0
        tokens = conversation_prompt(
            loaded.tokenizer,
            question,
            num_patches=num_patches,
            system=config.data.system_prompt,
        )
    else:
        _check_caption_only(question, image)
        tokens = caption_prompt(loaded.tokenizer, num_patches=vision.num_patches)
    pixels = _read_pixels(image, image_size=vision.image_size) if image else None
    return Candidate(tokens, [IGNORE_INDEX] * len(tokens), pixels)


def _check_text(question: str | None) -> None:
    try:
        (question or "").encode()
    except UnicodeEncodeError as error:  # bytes of another encoding, on the command line
        raise ConfigError(
            f"The text {question!r} is not UTF-8 at character {error.start}. Expected text in the "
            "encoding of the terminal, UTF-8. Type it again.",
            exit_code=ExitCode.USAGE,
        ) from error


def _check_text_only(question: str | None, image: Path | None, *, stage: str) -> None:
    if image is not None:
        raise ConfigError(
            f"--image is {str(image)!r}, but a checkpoint of {stage!r} sees no image. Leave it "
            "out, or name a checkpoint of `align` or `instruct`.",
            exit_code=ExitCode.USAGE,
        )
    if not question:
        raise ConfigError(
            f"There is no text. A checkpoint of {stage!r} goes on with one. Add its beginning, "
            'e.g. "Once upon a time".',
            exit_code=ExitCode.USAGE,
        )


def _check_caption_only(question: str | None, image: Path | None) -> None:
    if image is None:
        raise ConfigError(
            "--image is missing. A checkpoint of `align` writes a caption for an image. Add "
            "--image FILE.",
            exit_code=ExitCode.USAGE,
        )
    if question:
        raise ConfigError(
            f"The question is {question!r}, but a checkpoint of `align` only writes captions. "
            "Leave it out, or name a checkpoint of `instruct`.",
            exit_code=ExitCode.USAGE,
        )


def _read_pixels(image: Path, *, image_size: int) -> Pixels:
    if image.exists() and not image.is_file():  # a device or a pipe may never end
        raise DataError(
            f"{image} is no file. --image takes a JPEG, PNG or WebP file.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    try:
        with image.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # one more than allowed: the decoder refuses it
    except OSError as error:
        raise DataError(
            f"{image} cannot be read: {error.strerror}. --image takes a JPEG, PNG or WebP file.",
            exit_code=exit_code_of(error) or ExitCode.MISSING_INPUT,
        ) from error
    try:
        return decode_image(data, image_size=image_size)
    except ImageError as error:
        raise DataError(f"--image is {image}. {error.message}") from error
