"""Settings of an evaluation: how much is scored, and the seed of all that is drawn.

Limits: the defaults are what two CPU cores score in under a minute with a tiny model.
"""

from collections.abc import Sequence

from pydantic import Field, JsonValue, ValidationError

from phiray.config.base import Config
from phiray.config.messages import explain_errors
from phiray.config.yaml_text import parse_yaml
from phiray.errors import ConfigError, ExitCode

TEXT_SETS: tuple[str, ...] = ("gutenberg", "redpajama")
"""What a language model is scored on: all that are there."""


class EvalSettings(Config):
    """How one evaluation is done; where two results differ in it, their comparison says so."""

    seed: int = Field(default=0, ge=0)
    """Seed of the shuffled images, the fresh projector, the gallery and the bootstrap."""
    batch_size: int = Field(default=64, ge=1)
    """Rows scored or generated at once. Does not change a result."""
    max_images: int = Field(default=200, ge=2)
    """Held-out images for `caption`, chosen by hash of their id. CIDEr-D needs about 200."""
    captions_per_image: int = Field(default=5, ge=1)
    """Reference captions of each image; COCO has five."""
    max_conversations: int = Field(default=200, ge=1)
    """Held-out conversations for `instruct`, chosen by hash of their id."""
    max_documents: int = Field(default=100, ge=1)
    """Held-out documents of each set for `lm`, chosen by hash of their key."""
    max_document_characters: int = Field(default=8000, ge=1)
    """Characters of a document that are scored, from its start: one book must not weigh all."""
    max_new_tokens: int = Field(default=40, ge=1)
    """Longest generated caption or answer. COCO's longest captions have about 50 words, 99 % at
    most 18."""
    gallery_size: int = Field(default=12, ge=0)
    """Examples kept with picture and answers for the report, chosen by hash of their id."""


def change_settings(changes: Sequence[str]) -> EvalSettings:
    """Return the default settings with changes such as `max_images=5000`, applied in order.

    Raises:
        ConfigError: with every wrong setting in one message (78); 2 for a malformed change.
    """
    tree: dict[str, JsonValue] = {}
    places: dict[tuple[str | int, ...], str] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        name, shown = name.strip(), f"--set {change}"
        if not equals or not name:
            raise ConfigError(
                f"{shown} is no change of a setting. It must have the form --set max_images=5000.",
                exit_code=ExitCode.USAGE,
            )
        tree[name] = parse_yaml(text, origin=shown).value
        places[name,] = shown
    try:
        return EvalSettings.model_validate(tree)
    except ValidationError as error:
        message = explain_errors(error, root=EvalSettings, places=places)
        raise ConfigError(message) from error
