"""Stage `litgpt`: the same architecture through LitGPT, on the same loop and loss as `scratch`.

Source: litgpt.GPT with the configuration `phi-2`; RedPajama rows, tokenised and packed.
Limits: dense; LitGPT's own trainer is not used, so that the comparison is one of models and data.
"""

from phiray.config.model import ModelDescription
from phiray.config.stages import LitgptConfig
from phiray.config.training import StandardMethod
from phiray.data.prepare import prepare_text
from phiray.data.text_rows import TextRows
from phiray.models.build import build_language_model
from phiray.models.freezing import freeze_for_stage
from phiray.stages.parts import StageParts, read_tokenizer
from phiray.stages.text import check_vocabulary, text_ledger
from phiray.training.objective import Objective
from phiray.types import Progress


def prepare(config: LitgptConfig, *, progress: Progress | None = None) -> dict[str, int]:
    """Tokenise and pack the documents; a second call finds them done."""
    return dict(prepare_text(config.data, progress=progress).manifest.counts)


def build(config: LitgptConfig) -> StageParts:
    """Build packed rows and a LitGPT model with random weights, all of it trainable."""
    tokenizer = read_tokenizer(config.data.root, config.data.tokenizer)
    check_vocabulary(tokenizer, config.model)
    prepared = prepare_text(config.data)
    model = build_language_model(config.model, kind="litgpt", seed=config.run.seed)
    freeze_for_stage(model, "litgpt")
    objective = Objective(
        model,
        moe=None,
        method=StandardMethod(),
        max_steps=config.training.max_steps,
        seed=config.run.seed,
    )
    return StageParts(
        source=TextRows.from_prepared(prepared),
        objective=objective,
        model=model,
        description=ModelDescription(kind="litgpt", language_model=config.model),
        tokenizer=tokenizer,
        image_size=None,
        ledger=text_ledger(prepared),
    )
