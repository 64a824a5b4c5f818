from typing import Literal

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor, nn

from phiray.batch import Batch
from phiray.config.training import ScheduledSamplingMethod, StandardMethod
from phiray.models.phi import Phi
from phiray.models.projector import Projector
from phiray.models.vision_language import VisionLanguageModel
from phiray.training.objective import Objective
from phiray.training.scheduled_sampling import (
    choose_replaced,
    describe_schedule,
    draw_coins,
    gold_probability,
)
from phiray.types import FILLER_ROW, IGNORE_INDEX
from tests.unit.training.training_builders import (
    IMAGE_ID,
    SEQ,
    build_batch,
    build_objective,
    build_phi,
)

ScheduleName = Literal["linear", "exponential", "inverse-sigmoid"]
ROWS = [0, 1, 2, 3, 6]
HALF = 0.5


def own_tokens_method(
    rollout: Literal["exact", "parallel"], *, probability: float = HALF, num_passes: int = 1
) -> ScheduledSamplingMethod:
    return ScheduledSamplingMethod(
        rollout=rollout, num_passes=num_passes, start=probability, end=probability
    )


def loss_and_gradients(objective: Objective, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    objective.zero_grad(set_to_none=True)
    loss = objective(batch, 2).loss_sum
    loss.backward()
    gradients = {n: p.grad for n, p in objective.model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


def loop_over_tokens(model: Phi, batch: Batch, *, replaced: Tensor) -> Tensor:
    """Run the whole model anew for every token, each row alone, the graph kept through all."""
    losses = []
    for row in range(len(batch["input_ids"])):
        gold, labels = batch["input_ids"][row], batch["labels"][row]
        tokens = gold[:1]
        for position in range(1, int(batch["attention_mask"][row].sum())):
            hidden_states = model.decode(model.embed(tokens[None])).hidden_states
            logits = model.project(hidden_states[0, -1])
            if labels[position] != IGNORE_INDEX:
                losses.append(F.cross_entropy(logits, labels[position]))
            chosen = logits.argmax() if replaced[row, position] else gold[position]
            tokens = torch.cat([tokens, chosen[None]])
    return torch.stack(losses).sum()


def assert_same(
    found: tuple[Tensor, dict[str, Tensor]], wanted: tuple[Tensor, dict[str, Tensor]], *, tol: float
) -> None:
    torch.testing.assert_close(found[0], wanted[0], rtol=tol, atol=tol)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[1][name], gradient, rtol=tol, atol=tol * scale)


@pytest.mark.parametrize("probability", [0.0, HALF])
def test_exact_rollout_equals_the_loop_over_tokens_in_loss_and_gradient(probability: float) -> None:
    model = build_phi()
    batch = build_batch(ROWS)
    method = own_tokens_method("exact", probability=probability)
    objective = build_objective(method, moe=None, model=model)
    found = loss_and_gradients(objective, batch)
    replaced = choose_replaced(batch, probability=probability, seed=11, step=2)
    assert int(replaced.sum()) > 10
    objective.zero_grad(set_to_none=True)
    loss = loop_over_tokens(model, batch, replaced=replaced)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert_same(found, (loss.detach(), gradients), tol=1e-5)


@pytest.mark.parametrize("rollout", ["exact", "parallel"])
def test_probability_one_equals_standard_bit_for_bit(rollout: Literal["exact", "parallel"]) -> None:
    model = build_phi()
    batch = build_batch(ROWS)
    standard = loss_and_gradients(build_objective(StandardMethod(), model=model), batch)
    method = own_tokens_method(rollout, probability=1.0)
    assert_same(loss_and_gradients(build_objective(method, model=model), batch), standard, tol=0.0)


def test_parallel_with_as_many_passes_as_tokens_equals_exact() -> None:
    model = build_phi()
    batch = build_batch(ROWS)
    exact = build_objective(own_tokens_method("exact"), model=model)
    parallel = build_objective(own_tokens_method("parallel", num_passes=SEQ), model=model)
    assert_same(loss_and_gradients(parallel, batch), loss_and_gradients(exact, batch), tol=1e-5)


def test_one_parallel_pass_is_another_objective_than_exact() -> None:
    model = build_phi()
    batch = build_batch(ROWS)
    exact = build_objective(own_tokens_method("exact", probability=0.0), model=model)
    parallel = build_objective(own_tokens_method("parallel", probability=0.0), model=model)
    exact_loss, parallel_loss = exact(batch, 2).loss_sum, parallel(batch, 2).loss_sum
    assert abs(float(exact_loss.detach() / parallel_loss.detach()) - 1) > 1e-3


@pytest.mark.parametrize("rollout", ["exact", "parallel"])
def test_loss_of_a_row_does_not_depend_on_its_batch(rollout: Literal["exact", "parallel"]) -> None:
    objective = build_objective(own_tokens_method(rollout))
    together = objective(build_batch(ROWS), 2).loss_sum
    apart = sum(objective(build_batch([row], seq=SEQ - 1), 2).loss_sum for row in ROWS)
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


def test_draw_coins_depend_on_seed_step_row_and_position_alone() -> None:
    wide = draw_coins(torch.tensor([4, FILLER_ROW, 9]), seq=20, seed=1, step=3)
    narrow = draw_coins(torch.tensor([9, 4]), seq=7, seed=1, step=3)
    assert torch.equal(wide[[2, 0], :7], narrow)
    assert not wide[1].any()
    for seed, step in ((2, 3), (1, 4)):
        assert not torch.equal(
            draw_coins(torch.tensor([9, 4]), seq=7, seed=seed, step=step), narrow
        )
    assert len(set(wide[[0, 2]].flatten().tolist())) == 40


def test_draw_coins_are_uniform() -> None:
    coins = draw_coins(torch.arange(200), seq=200, seed=0, step=0)
    counts = torch.histc(coins.float(), bins=10, min=0, max=1)
    # 4,000 expected in each bin, standard deviation 60
    assert float((counts - 4000).abs().max()) < 5 * 60


def test_choose_replaced_takes_labels_only_and_never_the_first_position() -> None:
    batch = build_batch(ROWS)
    batch["labels"][0, 0] = 3
    replaced = choose_replaced(batch, probability=0.0, seed=1, step=0)
    assert not replaced[:, 0].any()
    assert torch.equal(replaced[:, 1:], batch["labels"][:, 1:] != IGNORE_INDEX)


@pytest.mark.parametrize("schedule", ["linear", "exponential", "inverse-sigmoid"])
def test_gold_probability_starts_ends_and_never_rises(schedule: ScheduleName) -> None:
    method = ScheduledSamplingMethod(schedule=schedule, start=0.8, end=0.2)
    found = [gold_probability(method, step=step, max_steps=101) for step in range(101)]
    assert found[0] == 0.8
    assert found[-1] == 0.2
    assert found == sorted(found, reverse=True)
    middle = 0.4 if schedule == "exponential" else 0.5  # sqrt(0.8 * 0.2), and the mean
    assert found[50] == pytest.approx(middle)


def test_gold_probability_of_inverse_sigmoid_is_flat_at_first() -> None:
    method = ScheduledSamplingMethod(schedule="inverse-sigmoid", start=1.0, end=0.0)
    assert gold_probability(method, step=10, max_steps=101) > 0.98
    assert gold_probability(method, step=90, max_steps=101) < 0.02


def test_gold_probability_of_standard_and_of_a_single_step() -> None:
    assert gold_probability(StandardMethod(), step=5, max_steps=10) == 1.0
    assert gold_probability(ScheduledSamplingMethod(start=0.7), step=0, max_steps=1) == 0.7


@pytest.mark.parametrize("schedule", ["linear", "exponential", "inverse-sigmoid"])
@pytest.mark.parametrize(("start", "end"), [(0.14, 0.11), (0.9, 0.3), (0.1, 0.1), (1.0, 1.0)])
def test_gold_probability_has_both_ends_to_the_last_bit(
    schedule: ScheduleName, start: float, end: float
) -> None:
    method = ScheduledSamplingMethod(schedule=schedule, start=start, end=end)
    found = [gold_probability(method, step=step, max_steps=101) for step in range(102)]
    assert (found[0], found[-2], found[-1]) == (start, end, end)
    assert found == sorted(found, reverse=True)


def test_describe_schedule_names_start_middle_and_end() -> None:
    text = describe_schedule(ScheduledSamplingMethod(start=0.9, end=0.1), max_steps=11)
    assert text == (
        "scheduled-sampling (linear), probability of a gold token: 0.9 at step 1, 0.5 at step 6, "
        "0.1 at step 11"
    )


def test_describe_schedule_of_a_single_step_names_it_once() -> None:
    text = describe_schedule(ScheduledSamplingMethod(start=0.7), max_steps=1)
    assert text.endswith("gold token: 0.7 at step 1")


def test_rollout_leaves_the_mode_of_each_module_as_it_was() -> None:
    objective = build_objective(own_tokens_method("exact"))
    objective.train()
    frozen = next(module for module in objective.modules() if isinstance(module, nn.LayerNorm))
    frozen.eval()
    objective(build_batch(ROWS), 2)
    assert not frozen.training
    assert objective.model.training


@pytest.mark.parametrize("rollout", ["exact", "parallel"])
def test_gradients_reach_the_weights_under_autocast(rollout: Literal["exact", "parallel"]) -> None:
    """Autocast keeps casts of weights; those of the rollout carry no gradient."""
    objective = build_objective(own_tokens_method(rollout))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(build_batch(ROWS), 2).loss_sum
    loss.backward()
    without = [n for n, p in objective.named_parameters() if p.grad is None or not p.grad.any()]
    # the softmax does not see a constant added to all keys, so their bias has no gradient
    assert [name for name in without if "k_proj.bias" not in name] == []


class CountingTower(nn.Module):
    """Four patches per image, and a count of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.num_calls = 0

    def forward(self, pixel_values: Tensor) -> Tensor:
        self.num_calls += 1
        return pixel_values.float().flatten(1)[:, : 4 * 6].view(-1, 4, 6) / 255


def test_rollout_with_images_sees_them_and_runs_the_tower_once() -> None:
    tower = CountingTower()
    projector = Projector(nn.Linear(6, 32), vision_hidden_size=6)
    model = VisionLanguageModel(build_phi(), tower, projector, image_token_id=IMAGE_ID)
    batch = build_batch([0, 1])
    batch["input_ids"][:, :4] = IMAGE_ID
    batch["labels"][:, :4] = IGNORE_INDEX
    batch["pixel_values"] = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    method = own_tokens_method("exact", probability=0.0)
    objective = Objective(model, moe=None, method=method, max_steps=2, seed=1)
    losses = []
    for _ in range(2):
        found = objective(batch, 0)
        losses.append(float(found.loss_sum.detach()))
        batch["pixel_values"] = 255 - batch["pixel_values"]
    assert int(found.num_replaced_tokens) == int((batch["labels"] != IGNORE_INDEX).sum())
    assert tower.num_calls == 2
    assert losses[0] != losses[1]
