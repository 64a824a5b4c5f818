"""Settings of the built-in world: how much of everything is made.

Limits: the defaults are what the demo's time on two cores allows.
"""

from pydantic import Field

from phiray.config.base import Config
from phiray.config.data import SplitConfig


class WorldConfig(Config):
    """Sizes of the built-in data."""

    num_images: int = Field(default=2000, ge=20)
    """Pictures, training and held-out together; 2,000 leave about 200 held out."""
    image_size: int = Field(default=64, ge=32)
    """Side of a picture, in pixels."""
    num_books: int = Field(default=1500, ge=1)
    """Books of one to six paragraphs; 1,500 leave about 150 held out."""
    num_rows: int = Field(default=2100, ge=7)
    """RedPajama rows over all of its seven sources; 2,100 leave about 210 held out."""
    vocab_size: int = Field(default=1000, ge=300)
    """Entries of the tokenizer, 256 bytes and the end of text included."""
    split: SplitConfig = SplitConfig()
    """Which ids are held out; must be the split that the stages use."""
