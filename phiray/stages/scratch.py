"""Stage `scratch`: the Phi-2 architecture from random weights, with experts after each MLP.

Source: Gutenberg books, tokenised whole and packed (data/prepare.py).
Limits: trains every parameter; no image.
"""

from phiray.config.model import ModelDescription
from phiray.config.stages import ScratchConfig
from phiray.config.training import StandardMethod
from phiray.data.prepare import prepare_text
from phiray.data.text_rows import TextRows
from phiray.models.build import build_language_model
from phiray.models.freezing import freeze_for_stage
from phiray.stages.parts import StageParts, read_tokenizer
from phiray.stages.text import check_vocabulary, text_ledger
from phiray.training.objective import Objective
from phiray.types import Progress


def prepare(config: ScratchConfig, *, progress: Progress | None = None) -> dict[str, int]:
    """Tokenise and pack the books; a second call finds them done."""
    return dict(prepare_text(config.data, progress=progress).manifest.counts)


def build(config: ScratchConfig) -> StageParts:
    """Build packed rows and a Phi with random weights, all of it trainable."""
    tokenizer = read_tokenizer(config.data.root, config.data.tokenizer)
    check_vocabulary(tokenizer, config.model)
    prepared = prepare_text(config.data)
    model = build_language_model(config.model, kind="phi", seed=config.run.seed)
    freeze_for_stage(model, "scratch")
    objective = Objective(
        model,
        moe=config.model.moe,
        method=StandardMethod(),
        max_steps=config.training.max_steps,
        seed=config.run.seed,
    )
    return StageParts(
        source=TextRows.from_prepared(prepared),
        objective=objective,
        model=model,
        description=ModelDescription(kind="phi", language_model=config.model),
        tokenizer=tokenizer,
        image_size=None,
        ledger=text_ledger(prepared),
    )
