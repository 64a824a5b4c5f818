"""Build a language model by its kind, with seeded weights.

Source: one of the two registries that load only what runs (the other is that of the stages).
Limits: two kinds; LitGPT's is dense.
"""

from typing import Literal

from phiray.config.model import PhiConfig
from phiray.models.convert import litgpt_from_phi
from phiray.models.init import random_tensor
from phiray.models.litgpt_phi import LitgptPhi
from phiray.models.phi import Phi

LanguageModelKind = Literal["phi", "litgpt"]


def build_language_model(
    config: PhiConfig, *, kind: LanguageModelKind, seed: int
) -> Phi | LitgptPhi:
    """Build a `TokenModel` whose weights are a pure function of the seed.

    Both kinds compute the same function for the same seed and a dense config.
    """
    model = Phi(config)
    state = model.state_dict()
    for name, tensor in state.items():
        tensor.copy_(random_tensor(name, tensor.shape, config=config, seed=seed))
    if kind == "phi":
        return model
    # Late: litgpt takes 7 s to import, and only its own stage needs it.
    from phiray.models.litgpt_gpt import build_gpt

    other = LitgptPhi(build_gpt(config))
    other.load_state_dict(litgpt_from_phi(state))
    return other
