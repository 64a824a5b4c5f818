"""What stages check of a language model's sizes, and the ledger of text.

Limits: no model is built here.
"""

from phiray.config.model import PhiConfig
from phiray.data.prepared import PreparedText
from phiray.errors import ConfigError
from phiray.stages.parts import Ledger
from phiray.text.tokenizer import Tokenizer

_VOCABULARY_STEP = 64
"""Matrix products like row counts that it divides."""


def check_vocabulary(tokenizer: Tokenizer, model: PhiConfig) -> None:
    """Check that the model to be trained has a row for every id, `<image>` and padding included.

    Raises:
        ConfigError: with both numbers.
    """
    if tokenizer.vocab_size > model.vocab_size:
        enough = -(-tokenizer.vocab_size // _VOCABULARY_STEP) * _VOCABULARY_STEP
        raise ConfigError(
            f"model.vocab_size is {model.vocab_size}, but the tokenizer needs "
            f"{tokenizer.vocab_size} ids (with `<image>` and padding). "
            f"Raise it, e.g. --set model.vocab_size={enough}."
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
    if max_length > model.max_position_embeddings:
        raise ConfigError(
            f"data.max_length is {max_length}, but {setting} reads at most "
            f"{model.max_position_embeddings} tokens. Lower it, e.g. "
            f"--set data.max_length={model.max_position_embeddings}."
        )


def text_ledger(prepared: PreparedText) -> Ledger:
    """Return the ids of the documents that prepared rows were made of."""
    ledger: Ledger = {}
    for key in prepared.train_keys():
        kind, _, name = key.partition(":")
        ledger.setdefault(kind, []).append(int(name) if kind == "book" else name)
    return ledger
