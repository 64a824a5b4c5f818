"""What the two language-model stages share: vocabulary check and ledger.

Limits: no model is built here.
"""

from phiray.config.model import PhiConfig
from phiray.data.prepared import PreparedText
from phiray.errors import ConfigError
from phiray.stages.parts import Ledger
from phiray.text.tokenizer import Tokenizer


def check_vocabulary(tokenizer: Tokenizer, model: PhiConfig) -> None:
    """Check that the model has a row for every id, `<image>` and padding included.

    Raises:
        ConfigError: with both numbers.
    """
    if tokenizer.vocab_size > model.vocab_size:
        raise ConfigError(
            f"model.vocab_size is {model.vocab_size}, but the tokenizer needs "
            f"{tokenizer.vocab_size} ids (with `<image>` and padding). "
            f"Raise it, e.g. --set model.vocab_size={-(-tokenizer.vocab_size // 64) * 64}."
        )


def text_ledger(prepared: PreparedText) -> Ledger:
    """Return the ids of the documents that prepared rows were made of."""
    ledger: Ledger = {}
    for key in prepared.train_keys():
        kind, _, name = key.partition(":")
        ledger.setdefault(kind, []).append(int(name) if kind == "book" else name)
    return ledger
