import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor, nn

from phiray.config.training import MethodConfig, ScheduledSamplingMethod, StandardMethod
from phiray.models.freezing import freeze_for_stage
from phiray.models.projector import Projector
from phiray.models.vision_language import VisionLanguageModel
from phiray.training.objective import Objective, count_labels
from phiray.types import FILLER_ROW, IGNORE_INDEX
from tests.unit.training.training_builders import (
    BAD_ROW,
    IMAGE_ID,
    MOE,
    build_batch,
    build_objective,
    build_phi,
    with_packed_rows,
)


def test_objective_is_the_cross_entropy_of_the_next_token() -> None:
    model = build_phi(None)
    batch = build_batch([0, 1, 2])
    found = build_objective(StandardMethod(), moe=None, model=model)(batch, 0)
    logits = model.project(model.decode(model.embed_batch(batch)).hidden_states)
    wanted = F.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    )
    torch.testing.assert_close(found.loss_sum, wanted, rtol=1e-5, atol=1e-5)
    assert found.expert_counts is None


def test_objective_adds_the_balance_terms_weighted_by_label_tokens() -> None:
    model = build_phi()
    batch = build_batch([0, 1, 2])
    found = build_objective(StandardMethod(), model=model)(batch, 0)
    output = model.decode(model.embed_batch(batch), attention_mask=batch["attention_mask"])
    assert output.router is not None
    counts = (batch["labels"][:, 1:] != IGNORE_INDEX).sum(1)
    terms = MOE.balance_coefficient * output.router.balance + MOE.z_coefficient * output.router.z
    torch.testing.assert_close(
        found.loss_sum - found.token_loss_sum, (counts * terms).sum(), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(found.balance_sum, output.router.balance.sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "method",
    [
        StandardMethod(),
        ScheduledSamplingMethod(rollout="exact", start=0.5, end=0.5),
        ScheduledSamplingMethod(rollout="parallel", num_passes=2, start=0.5, end=0.5),
    ],
)
def test_rows_end_to_end_make_the_update_of_lone_rows(
    method: MethodConfig, dtype: torch.dtype
) -> None:
    model = build_phi().to(dtype)
    objective = build_objective(method, model=model)
    alone = build_batch([0, FILLER_ROW, 1, 2, BAD_ROW, 3, 6, 8])
    packed = with_packed_rows(alone)
    assert packed["packed_index"].numel() < 0.75 * alone["input_ids"].numel()
    sums, gradients = [], []
    for batch in (alone, packed):
        objective.zero_grad(set_to_none=True)
        sums.append(objective(batch, 2))
        sums[-1].loss_sum.backward()
        found = [p.grad for p in model.parameters() if p.grad is not None]
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
    for name in ("loss_sum", "token_loss_sum", "balance_sum", "z_sum"):
        found, wanted = (getattr(part, name) for part in reversed(sums))
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0, check_dtype=False)
    for name in ("num_real_rows", "num_replaced_tokens", "expert_counts"):
        assert torch.equal(getattr(sums[0], name), getattr(sums[1], name)), name
    error = torch.linalg.vector_norm(gradients[1] - gradients[0])
    assert float(error / torch.linalg.vector_norm(gradients[0])) < 1e-6


def test_fillers_and_bad_rows_change_nothing_and_leave_finite_gradients() -> None:
    objective = build_objective()
    alone = objective(build_batch([1, 2]), 2)
    beside = objective(build_batch([FILLER_ROW, 1, BAD_ROW, 2]), 2)
    for name in ("loss_sum", "balance_sum", "num_real_rows", "expert_counts"):
        torch.testing.assert_close(
            getattr(beside, name), getattr(alone, name), rtol=1e-5, atol=1e-5
        )
    beside.loss_sum.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_a_micro_batch_of_fillers_gives_every_parameter_a_zero_gradient() -> None:
    objective = build_objective()
    objective(build_batch([FILLER_ROW, FILLER_ROW]), 2).loss_sum.backward()
    assert all(p.grad is not None and not p.grad.any() for p in objective.parameters())


class NoTower(nn.Module):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return pixel_values.float().flatten(1)[:, :6].view(-1, 1, 6)


@pytest.mark.parametrize(("stage", "is_balanced"), [("align", False), ("instruct", True)])
def test_balance_terms_count_only_where_the_language_model_is_trained(
    stage: str, is_balanced: bool
) -> None:
    projector = Projector(nn.Linear(6, 32), vision_hidden_size=6)
    model = VisionLanguageModel(build_phi(), NoTower(), projector, image_token_id=IMAGE_ID)
    freeze_for_stage(model, stage)
    objective = Objective(model, moe=MOE, method=StandardMethod(), max_steps=2, seed=0)
    batch = build_batch([0])
    found = objective(batch, 0)
    assert (float(found.loss_sum.detach()) > float(found.token_loss_sum)) == is_balanced
    assert objective.balances_by_bias == is_balanced
    found.loss_sum.backward()  # a row without an image, and the projector has its (zero) gradient
    assert all(p.grad is not None for p in projector.parameters())


def test_update_router_bias_moves_towards_the_idle_expert() -> None:
    objective = build_objective()
    objective.update_router_bias(torch.tensor([[9.0, 3.0, 0.0], [4.0, 4.0, 4.0]]))
    biases = [b for name, b in objective.named_buffers() if name.endswith("router.bias")]
    assert biases[0][0] < biases[0][1] <= biases[0][2]
    assert not biases[1].any()


def test_count_labels_skips_the_first_position_and_rows_without_weight() -> None:
    batch = build_batch([1, 2])
    batch["labels"] = torch.full_like(batch["labels"], 3)
    batch["loss_weights"][1] = 0
    assert count_labels(batch) == batch["labels"].shape[1] - 1
