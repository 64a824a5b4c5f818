"""Build a model: a language model by its kind with seeded weights, or any from its description.

Source: one of the two registries that load only what runs (the other is that of the stages).
Limits: two kinds of language model; LitGPT's is dense.
"""

from typing import Literal

from torch import Tensor

from phiray.config.model import ModelDescription, PhiConfig
from phiray.models.convert import litgpt_from_phi
from phiray.models.init import random_tensor
from phiray.models.interface import FeatureTower
from phiray.models.litgpt_phi import LitgptPhi
from phiray.models.phi import Phi
from phiray.models.projector import build_projector
from phiray.models.vision_language import VisionLanguageModel

LanguageModelKind = Literal["phi", "litgpt"]
VISION_PREFIX = "vision."
"""How the names of the tower's weights begin in a vision-language model."""
AnyModel = Phi | LitgptPhi | VisionLanguageModel
"""All of them are a `TokenModel`."""


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
    other = _empty_litgpt(config)
    other.load_state_dict(litgpt_from_phi(state))
    return other


def build_from_state(description: ModelDescription, tensors: dict[str, Tensor]) -> AnyModel:
    """Build the described model with the given weights, every one of them and no other."""
    model: AnyModel
    match description.kind:
        case "phi":
            model = Phi(description.language_model)
        case "litgpt":
            model = _empty_litgpt(description.language_model)
        case "vision-language":
            model = _vision_language(description, _below(tensors, VISION_PREFIX))
    model.load_state_dict(tensors)
    return model


def build_tower(description: ModelDescription, tensors: dict[str, Tensor]) -> FeatureTower:
    """Build the tower of a vision-language model.

    Args:
        description: of the whole model.
        tensors: weights of the tower, by their names in the whole model.
    """
    # Late: open_clip takes 7 s to import, and a language model needs none of it.
    from phiray.models.clip import ClipTower

    assert description.vision is not None
    tower: FeatureTower = ClipTower.from_state(
        description.vision, description.vision_model or {}, _below(tensors, VISION_PREFIX)
    )
    return tower


def _empty_litgpt(config: PhiConfig) -> LitgptPhi:
    # Late: litgpt takes 7 s to import, and only its own stage needs it.
    from phiray.models.litgpt_gpt import build_gpt

    return LitgptPhi(build_gpt(config))


def _vision_language(
    description: ModelDescription, vision_tensors: dict[str, Tensor]
) -> VisionLanguageModel:
    # Late: open_clip takes 7 s to import, and a language model needs none of it.
    from phiray.models.clip import ClipTower

    config, vision = description.language_model, description.vision
    projector, image_token_id = description.projector, description.image_token_id
    assert vision is not None
    assert projector is not None
    assert image_token_id is not None
    return VisionLanguageModel(
        Phi(config),
        ClipTower.from_state(vision, description.vision_model or {}, vision_tensors),
        build_projector(
            projector,
            vision_hidden_size=vision.hidden_size,
            hidden_size=config.hidden_size,
            seed=0,
        ),
        image_token_id=image_token_id,
    )


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
