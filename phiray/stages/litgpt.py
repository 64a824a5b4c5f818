"""Stage `litgpt`: the same architecture through LitGPT, on the same loop and loss as `scratch`.

Source: litgpt.GPT with the configuration `phi-2`; RedPajama rows, tokenised and packed.
Limits: dense; LitGPT's own trainer is not used, so that the comparison is one of models and data.
"""

from phiray.config.stages import LitgptConfig
from phiray.stages.parts import PreparedData, StageParts
from phiray.stages.text import build_text_stage, prepare_text_stage
from phiray.types import Progress


def prepare(config: LitgptConfig, *, progress: Progress | None = None) -> PreparedData:
    """Tokenise and pack the documents; a second call finds them done."""
    return prepare_text_stage(config, progress=progress)


def build(config: LitgptConfig) -> StageParts:
    """Build packed rows and a LitGPT model with random weights, all of it trainable."""
    return build_text_stage(config, kind="litgpt")
