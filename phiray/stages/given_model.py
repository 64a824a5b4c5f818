"""What a stage checks of a trained model that it is given: its ids and its sizes must fit the data.

Limits: told before Ray starts (each stage's `prepare`); no weight is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from phiray.config.data import longest_row, padded_length
from phiray.config.model import PhiConfig
from phiray.errors import CheckpointError, ConfigError, ExitCode
from phiray.text.tokenizer import Tokenizer


@contextmanager
def explained_absence(key: str, value: str, *, mend: str) -> Iterator[None]:
    """Say of a checkpoint that is missing which setting asked for it, and how to come by one.

    Args:
        key: the setting.
        value: its value.
        mend: what to do.
    """
    try:
        yield
    except CheckpointError as error:
        if error.exit_code != ExitCode.MISSING_INPUT:
            raise
        raise CheckpointError(
            f"{key} is {value}. {error.message} {mend}", exit_code=error.exit_code
        ) from error


def check_same_tokenizer(tokenizer: Tokenizer, trained_with: Tokenizer, *, setting: str) -> None:
    """Refuse data whose ids mean something else to the model than they did in its training.

    Args:
        tokenizer: that of the data.
        trained_with: that of the checkpoint.
        setting: the checkpoint's key in the settings, and its value.

    Raises:
        ConfigError: if ids or EOS differ.
    """
    if (tokenizer.content, tokenizer.eos_id) != (trained_with.content, trained_with.eos_id):
        raise ConfigError(
            f"{setting} was trained with another tokenizer than data.tokenizer. They must be the "
            "same file. Point data.tokenizer at the one of that run."
        )


def check_given_model(
    model: PhiConfig, *, tokenizer: Tokenizer, max_length: int, setting: str
) -> None:
    """Check that a trained language model, whose sizes are fixed, can read the rows of the data.

    Args:
        model: its architecture.
        tokenizer: that of the data.
        max_length: longest row in tokens.
        setting: the model's key in the settings, and its value.

    Raises:
        ConfigError: with both numbers.
    """
    if tokenizer.vocab_size > model.vocab_size:
        raise ConfigError(
            f"{setting} has a vocabulary of {model.vocab_size} rows, but data.tokenizer needs "
            f"{tokenizer.vocab_size} ids (with `<image>` and padding). Use the tokenizer that the "
            "model was trained with."
        )
    if padded_length(max_length) > model.max_position_embeddings:
        longest = longest_row(model.max_position_embeddings)
        raise ConfigError(
            f"data.max_length is {max_length}, but {setting} reads at most {longest} tokens. Lower "
            f"it, e.g. --set data.max_length={longest}."
        )
