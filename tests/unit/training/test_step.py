import math
from typing import cast

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor

from phiray.batch import Batch
from phiray.config.training import StandardMethod
from phiray.errors import DataError, ExitCode, PhirayError
from phiray.training.collective import Collective
from phiray.training.objective import count_labels
from phiray.training.state import build_state
from phiray.training.step import StepSettings, seed_step, train_step
from phiray.types import FILLER_ROW, IGNORE_INDEX
from tests.unit.training.four_processes import (
    POISONED_RANK,
    Report,
    fresh_state,
    step_settings,
    take_steps,
    weigh,
)
from tests.unit.training.training_builders import (
    BAD_ROW,
    CPU,
    build_batch,
    build_objective,
    build_phi,
    build_settings,
)

Steps = tuple[list[list[float]], list[float]]


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["4x1", "2x2"])
def test_workers_times_accumulation_gives_the_same_update(
    four_reports: list[Report], shape: str
) -> None:
    """With experts and exact scheduled sampling on, a filler and a bad row among the rows."""
    wanted, wanted_gradients = take_steps(Collective(), accumulation=4)
    assert all(step[4] > 0 for step in wanted)  # tokens were replaced in each step
    for report in four_reports[: int(shape[0])]:
        found, gradients = cast(Steps, report[shape])
        for one, other in zip(found, wanted, strict=True):
            assert one == pytest.approx(other, rel=1e-5)
        # the whole gradient is clipped to length 1, so this is relative to it
        assert gradients == pytest.approx(wanted_gradients, rel=0, abs=1e-5)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_all_workers_before_the_update(
    four_reports: list[Report],
) -> None:
    found = [cast(Report, report["non-finite"]) for report in four_reports]
    assert {report["unchanged"] for report in found} == {True}
    messages = {str(report["message"]) for report in found}
    assert len(messages) == 1
    assert messages.pop().startswith(
        "65: Step 1 stopped before its update: the loss is not finite on "
        f"worker {POISONED_RANK}, rows [[4, 5]]."
    )


@pytest.mark.slow
def test_a_step_without_labels_stops_all_workers(four_reports: list[Report]) -> None:
    messages = {str(report["no labels"]) for report in four_reports}
    assert len(messages) == 1
    assert messages.pop().startswith("65: no label tokens in step 1")


def step_once(batch: Batch, *, settings: StepSettings | None = None) -> float:
    state = fresh_state(Collective())
    before = weigh(state)
    result = train_step(
        state.module,
        state.optimizer,
        micro_batches=[batch],
        step=1,
        settings=settings or step_settings(),
        collective=Collective(),
    )
    assert weigh(state) != before
    return result.loss_nats_per_token


def _poison(gradient: Tensor) -> Tensor:
    return gradient * math.nan


def test_a_gradient_that_is_not_finite_names_the_rows() -> None:
    state = fresh_state(Collective())
    parameter = next(state.model.parameters())
    parameter.register_hook(_poison)  # type: ignore[no-untyped-call]  # torch's own
    before = weigh(state)
    with pytest.raises(PhirayError, match=r"norm is nan, .* worker 0, rows \[\[1, 2\]\]") as caught:
        train_step(
            state.module,
            state.optimizer,
            micro_batches=[build_batch([1, 2])],
            step=4,
            settings=step_settings(),
            collective=Collective(),
        )
    assert "Step 5" in caught.value.message
    assert caught.value.exit_code == ExitCode.BAD_DATA
    assert weigh(state) == before


def test_a_step_without_labels_is_refused() -> None:
    batch = build_batch([1, 2])
    batch["labels"].fill_(IGNORE_INDEX)
    with pytest.raises(DataError, match="no label tokens in step 2"):
        step_once(batch)


def test_a_step_of_which_no_row_could_be_read_makes_no_update() -> None:
    state = fresh_state(Collective())
    before = weigh(state)
    result = train_step(
        state.module,
        state.optimizer,
        micro_batches=[build_batch([BAD_ROW]), build_batch([FILLER_ROW])],
        step=1,
        settings=step_settings(),
        collective=Collective(),
    )
    assert weigh(state) == before
    assert (result.num_rows, result.num_label_tokens) == (0, 0)
    assert math.isnan(result.loss_nats_per_token)


def test_gradients_are_clipped_to_the_norm_that_is_set() -> None:
    state = fresh_state(Collective())
    result = train_step(
        state.module,
        state.optimizer,
        micro_batches=[build_batch([1, 2])],
        step=1,
        settings=StepSettings(max_grad_norm=0.01, precision="fp32", device=CPU),
        collective=Collective(),
    )
    squares = [p.grad.square().sum() for p in state.module.parameters() if p.grad is not None]
    assert result.grad_norm > 0.1
    assert float(torch.stack(squares).sum().sqrt()) == pytest.approx(0.01, rel=1e-3)


def test_gradient_is_that_of_the_mean_over_all_label_tokens_of_the_step() -> None:
    """Parity with one plain backward over all rows; the micro-batches differ in labels."""
    model, rows = build_phi(None), [1, 6, 9]
    batch = build_batch(rows)
    logits = model.project(model.decode(model.embed_batch(batch)).hidden_states)
    mean = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    wanted = torch.autograd.grad(mean, list(model.parameters()))
    training = build_settings().training
    objective = build_objective(StandardMethod(), moe=None, model=model)
    state = build_state(objective, training=training, collective=Collective(), device=CPU)
    parts = [build_batch(rows[:2]), build_batch(rows[2:])]
    assert len({count_labels(part) for part in parts}) == 2
    result = train_step(
        state.module,
        state.optimizer,
        micro_batches=parts,
        step=1,
        settings=StepSettings(max_grad_norm=1e9, precision="fp32", device=CPU),
        collective=Collective(),
    )
    assert result.loss_nats_per_token == pytest.approx(float(mean.detach()), rel=1e-5)
    found = [parameter.grad for parameter in model.parameters()]
    torch.testing.assert_close(found, list(wanted), rtol=1e-5, atol=1e-6)


def test_bf16_autocast_trains_fp32_weights() -> None:
    settings = StepSettings(max_grad_norm=1.0, precision="bf16", device=CPU)
    half = step_once(build_batch([1, 2]), settings=settings)
    assert half == pytest.approx(step_once(build_batch([1, 2])), rel=0.05)
    state = fresh_state(Collective())
    train_step(
        state.module,
        state.optimizer,
        micro_batches=[build_batch([1, 2])],
        step=1,
        settings=settings,
        collective=Collective(),
    )
    for parameter in state.model.parameters():
        moments = state.optimizer.state[parameter]
        tensors = (parameter, parameter.grad, moments["exp_avg"], moments["exp_avg_sq"])
        assert {tensor.dtype for tensor in tensors if tensor is not None} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_runs_on_a_gpu(precision: str) -> None:
    device = torch.device("cuda")
    state = fresh_state(Collective())
    state.module.to(device)
    result = train_step(
        state.module,
        state.optimizer,
        micro_batches=[build_batch([1, 2])],
        step=1,
        settings=StepSettings(1.0, precision, device),  # type: ignore[arg-type]  # a parameter
        collective=Collective(),
    )
    assert result.loss_nats_per_token == pytest.approx(step_once(build_batch([1, 2])), rel=0.05)


def test_seed_step_differs_by_seed_step_and_rank_and_repeats() -> None:
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)]
    drawn = []
    for seed, step, rank in places:
        seed_step(seed, step=step, rank=rank)
        drawn.append(float(torch.rand(1)))
    assert len(set(drawn)) == 4
    assert drawn[0] == drawn[4]
