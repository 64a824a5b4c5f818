"""Stage `scratch`: the Phi-2 architecture from random weights, with experts after each MLP.

Source: Gutenberg books, tokenised whole and packed (data/prepare.py).
Limits: trains every parameter; no image.
"""

from phiray.config.stages import ScratchConfig
from phiray.stages.parts import PreparedData, StageParts
from phiray.stages.text import build_text_stage, prepare_text_stage
from phiray.types import Progress


def prepare(config: ScratchConfig, *, progress: Progress | None = None) -> PreparedData:
    """Tokenise and pack the books; a second call finds them done."""
    return prepare_text_stage(config, progress=progress)


def build(config: ScratchConfig) -> StageParts:
    """Build packed rows and a Phi with random weights, all of it trainable."""
    return build_text_stage(config, kind="phi")
