import pytest
import torch

from phiray.config.model import ProjectorConfig
from phiray.errors import ShapeError
from phiray.models.projector import PatchExperts, Projector, build_projector
from tests.model_builders import assert_near

VISION_HIDDEN = 12
HIDDEN = 20


def _build(kind: str, *, top: int | None = None, seed: int = 0) -> Projector:
    config = ProjectorConfig.model_validate({"kind": kind, "num_experts_per_token": top})
    return build_projector(config, vision_hidden_size=VISION_HIDDEN, hidden_size=HIDDEN, seed=seed)


@pytest.mark.parametrize(
    ("kind", "expected"),
    # Counts of the student project's projectors and of LLaVA's, from 768 to 2560.
    [("linear", 1_968_640), ("mlp", 8_524_800), ("moe", 10_241_542)],
)
def test_projector_has_the_published_number_of_parameters(kind: str, expected: int) -> None:
    projector = build_projector(
        ProjectorConfig.model_validate({"kind": kind}), vision_hidden_size=768, hidden_size=2560
    )
    assert sum(parameter.numel() for parameter in projector.parameters()) == expected


@pytest.mark.parametrize("kind", ["linear", "mlp", "moe"])
def test_each_patch_is_projected_by_itself(kind: str) -> None:
    projector = _build(kind)
    features = torch.randn(2, 5, VISION_HIDDEN)
    embeds = projector(features)
    assert embeds.shape == (2, 5, HIDDEN)
    assert_near(projector(features[1:, 3:4]), embeds[1:, 3:4])


def test_sparse_experts_equal_dense_ones_when_all_are_chosen() -> None:
    dense, sparse = _build("moe"), _build("moe", top=6)
    features = torch.randn(2, 5, VISION_HIDDEN)
    assert_near(sparse(features), dense(features))


def test_one_chosen_expert_is_its_linear_map_times_its_probability() -> None:
    experts = PatchExperts(ProjectorConfig(kind="moe", num_experts_per_token=1), VISION_HIDDEN)
    features = torch.randn(1, 6, VISION_HIDDEN)
    output = experts(features)
    for patch, mixed in zip(features[0], output[0], strict=True):
        probabilities = experts.gate(patch).softmax(dim=0)
        best = int(probabilities.argmax())
        expected = patch @ experts.weight[best] + experts.bias[best]
        assert_near(mixed, probabilities[best] * expected)


@pytest.mark.parametrize("top", [None, 1, 2])
def test_gate_learns_from_the_patches(top: int | None) -> None:
    config = ProjectorConfig(kind="moe", num_experts_per_token=top)
    experts = PatchExperts(config, VISION_HIDDEN)
    torch.autograd.backward(experts(torch.randn(1, 6, VISION_HIDDEN)).square().sum())
    assert experts.gate.weight.grad is not None
    assert experts.gate.weight.grad.abs().max() > 1e-3


def test_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = _build("moe", seed=3).state_dict()
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)  # the global generator was not touched
    second, other = _build("moe", seed=3).state_dict(), _build("moe", seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_features_of_another_tower_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"11 wide, but .* takes vision\.hidden_size=12"):
        _build("mlp")(torch.zeros(1, 5, 11))


@pytest.mark.parametrize(
    ("num_layers", "inner", "expected"), [(1, None, 260), (3, 7, 91 + 56 + 160)]
)
def test_mlp_has_the_depth_and_width_asked_for(
    num_layers: int, inner: int | None, expected: int
) -> None:
    config = ProjectorConfig(kind="mlp", num_layers=num_layers, intermediate_size=inner)
    projector = build_projector(config, vision_hidden_size=VISION_HIDDEN, hidden_size=HIDDEN)
    # 12 -> 20: 12 * 20 + 20; or 12 -> 7 -> 7 -> 20: 91, 56 and 160
    assert sum(parameter.numel() for parameter in projector.parameters()) == expected
