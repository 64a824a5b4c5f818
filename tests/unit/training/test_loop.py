import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from phiray.checkpoints.read import read_checkpoint
from phiray.config.training import MethodConfig, ScheduledSamplingMethod, StandardMethod
from phiray.errors import CheckpointError, DataError, ExitCode
from phiray.models.interface import as_token_model
from phiray.training import notices
from phiray.training.collective import Collective
from phiray.training.loop import VALIDATION_METRIC
from phiray.training.metrics_log import EVENTS_NAME, Metrics, read_metrics
from phiray.training.notices import Notice
from phiray.training.objective import Objective
from phiray.training.run_files import open_run
from phiray.training.step import StepSettings
from phiray.training.validation import Validation
from tests.unit.training.four_processes import Report, weigh
from tests.unit.training.training_builders import (
    BAD_ROW,
    CPU,
    EXACT,
    build_batch,
    build_objective,
    build_settings,
    step_row_ids,
    train,
)

PARALLEL = ScheduledSamplingMethod(num_passes=2, start=1.0, end=0.2)

NODE_A, NODES_A_B = Notice("node a", None), Notice("nodes a, b", None)
FP32 = StepSettings(max_grad_norm=1.0, precision="fp32", device=CPU)


def losses(run_dir: Path) -> list[object]:
    return [record["train/loss_nats_per_token"] for record in read_metrics(run_dir)]


def train_until(end: int, run_dir: Path, *, objective: Objective | None = None) -> None:
    """Train a run that dies after step `end`."""
    with pytest.raises(DataError, match=f"ended before step {end + 1}"):
        train(run_dir, objective=objective, end=end)


@pytest.mark.parametrize("method", [StandardMethod(), PARALLEL, EXACT], ids=lambda m: m.kind)
def test_a_resumed_run_equals_an_undisturbed_one_bit_for_bit(
    tmp_path: Path, method: MethodConfig
) -> None:
    wanted, _ = train(tmp_path / "a", objective=build_objective(method))
    train_until(4, tmp_path / "b", objective=build_objective(method))
    found, _ = train(tmp_path / "b", objective=build_objective(method))
    assert losses(tmp_path / "b") == losses(tmp_path / "a")
    assert len(losses(tmp_path / "a")) == 6
    assert weigh(found) == weigh(wanted)


def test_a_run_that_died_between_checkpoints_replays_bit_for_bit(tmp_path: Path) -> None:
    """Step 5 was logged, but the newest whole checkpoint is that of step 4."""
    wanted, _ = train(tmp_path / "a")
    train_until(5, tmp_path / "b")
    assert len(losses(tmp_path / "b")) == 5
    found, _ = train(tmp_path / "b")
    assert losses(tmp_path / "b") == losses(tmp_path / "a")
    assert weigh(found) == weigh(wanted)
    events = [
        json.loads(line) for line in (tmp_path / "b" / "events.jsonl").read_text().splitlines()
    ]
    told = [(event["event"], event["step"]) for event in events]
    first = [("start", 0), ("checkpoint", 2), ("checkpoint", 4)]
    assert told == [*first, ("resume", 4), ("checkpoint", 6), ("end", 6)]
    assert (events[3]["replayed_steps"], events[3]["attempt"]) == (1, 2)


@pytest.mark.slow
def test_four_workers_resume_bit_for_bit(four_reports: list[Report]) -> None:
    assert all(report["resumed"] == report["straight"] for report in four_reports)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "text"),
    [
        ("bad rows", "65: 1 of 21 rows could not be read so far (1 broken)"),
        ("early end", "65: The data ended before step 4"),
        ("full disk", "74: no space is left"),
    ],
)
def test_what_stops_one_worker_stops_all_with_the_same_error(
    four_reports: list[Report], scenario: str, text: str
) -> None:
    messages = {str(report[scenario]) for report in four_reports}
    assert len(messages) == 1
    assert messages.pop().startswith(text)


def test_run_loop_commits_and_tells_of_each_checkpoint(tmp_path: Path) -> None:
    told: list[tuple[int, str, float]] = []

    def remember(step: int, path: Path, metrics: Metrics) -> None:
        told.append((step, path.name, metrics["step"]))

    _, result = train(tmp_path, on_checkpoint=remember)
    assert told == [(step, f"step-0000000{step}", step) for step in (2, 4, 6)]
    assert result.step == 6
    assert result.checkpoint == tmp_path / "checkpoints" / "step-00000006"
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000006"]


def test_run_loop_writes_position_and_texts_into_the_checkpoint(tmp_path: Path) -> None:
    train_until(4, tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.texts == {"config.yaml": "stage: scratch\n"}
    assert checkpoint.state == {
        "step": 4,
        "epoch": 1,
        "seed": 11,
        "global_batch_size": 7,
        "num_rows": 21,
        "world_size": 1,
    }


def test_run_loop_commits_the_last_step_when_it_is_no_multiple(tmp_path: Path) -> None:
    _, result = train(tmp_path, settings=build_settings(max_steps=5))
    assert result.checkpoint is not None
    assert result.checkpoint.name == "step-00000005"


def test_run_loop_of_a_finished_run_does_nothing(tmp_path: Path) -> None:
    train(tmp_path)
    before = losses(tmp_path)
    _, result = train(tmp_path)
    assert (result.step, result.checkpoint) == (6, None)
    assert losses(tmp_path) == before


def test_run_loop_logs_rows_epochs_and_probability(tmp_path: Path) -> None:
    train(tmp_path)
    records = read_metrics(tmp_path)
    rows = [row for step in range(6) for row in step_row_ids(step)[:-1] if row != BAD_ROW]
    assert [row for record in records for row in record["row_ids"]] == rows  # type: ignore[attr-defined]
    assert [record["epoch"] for record in records] == [0, 0, 0, 1, 1, 1]
    assert (records[0]["gold_probability"], records[-1]["gold_probability"]) == (0.9, 0.3)
    assert [record["bad_rows"] for record in records] == [1] * 6


def test_run_loop_lists_a_bad_row_once(tmp_path: Path) -> None:
    train_until(2, tmp_path)
    train(tmp_path)
    lines = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["row_id"] for line in lines] == [BAD_ROW]


def test_run_loop_stops_when_too_many_rows_are_bad(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 21 rows .*max_bad_fraction=0\.01") as caught:
        train(tmp_path, settings=build_settings(max_bad_fraction=0.01))
    assert caught.value.exit_code == ExitCode.BAD_DATA
    assert losses(tmp_path) == []


def test_run_loop_may_not_commit_once_a_newer_attempt_has_begun(tmp_path: Path) -> None:
    def begin_another(step: int, path: Path, metrics: Metrics) -> None:
        open_run(tmp_path, {}, collective=Collective())

    with pytest.raises(CheckpointError, match="attempt 2 has begun"):
        train(tmp_path, on_checkpoint=begin_another)
    assert read_checkpoint(tmp_path).step == 2


def test_run_loop_keeps_frozen_weights_once_beside_the_checkpoints(tmp_path: Path) -> None:
    objective = build_objective()
    objective.model.get_submodule("lm_head").requires_grad_(requires_grad=False)
    state, _ = train(tmp_path, objective=objective)
    checkpoint = read_checkpoint(tmp_path)
    assert not any("lm_head" in name for name in checkpoint.read_trainable())
    merged = checkpoint.read_tensors()
    wanted = state.model.state_dict()
    assert merged.keys() == wanted.keys()
    assert all(torch.equal(merged[name], wanted[name]) for name in wanted)


def test_validation_stands_in_the_metrics_of_each_checkpoint_and_changes_nothing(
    tmp_path: Path,
) -> None:
    validation = Validation([build_batch([100, 101, 102])], settings=FP32, collective=Collective())
    told: list[float] = []
    plain, _ = train(tmp_path / "a")
    state, _ = train(
        tmp_path / "b",
        validate=validation.measure,
        on_checkpoint=lambda step, path, metrics: told.append(metrics[VALIDATION_METRIC]),
    )
    records = {int(str(r["step"])): r.get(VALIDATION_METRIC) for r in read_metrics(tmp_path / "b")}
    assert [step for step, nats in records.items() if nats is not None] == [2, 4, 6]
    assert told == [records[2], records[4], records[6]]
    assert records[6] == validation.measure(as_token_model(state.model))
    assert weigh(state) == weigh(plain)


def test_a_notice_is_answered_by_a_checkpoint_after_the_step_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "SECONDS_BETWEEN_ASKS", 0.0)
    training = build_settings().training.model_copy(update={"checkpoint_every_steps": 50})
    answers = iter([None, None, NODE_A, NODE_A, NODES_A_B])
    told: list[int] = []
    with pytest.raises(DataError, match="ended before step 6"):
        train(
            tmp_path,
            settings=replace(build_settings(), training=training),
            ask_notice=lambda: next(answers),
            on_checkpoint=lambda step, path, metrics: told.append(step),
            end=5,
        )
    assert read_checkpoint(tmp_path).step == 5
    assert told == []  # none was due
    events = [json.loads(line) for line in (tmp_path / EVENTS_NAME).read_text().splitlines()]
    assert [(event["event"], event["step"], event.get("notice")) for event in events] == [
        ("start", 0, None),
        ("notice", 3, "node a"),
        ("checkpoint", 3, None),
        ("notice answered", 3, "node a"),
        ("notice", 5, "nodes a, b"),
        ("checkpoint", 5, None),
        ("notice answered", 5, "nodes a, b"),
    ]


def test_a_notice_changes_nothing_that_is_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "SECONDS_BETWEEN_ASKS", 0.0)
    plain, _ = train(tmp_path / "a")
    answers = iter([Notice(f"notice {step}", None) for step in range(6)])
    state, _ = train(tmp_path / "b", ask_notice=lambda: next(answers))
    assert losses(tmp_path / "b") == losses(tmp_path / "a")
    assert weigh(state) == weigh(plain)


def test_a_step_at_which_a_checkpoint_is_due_answers_a_notice_with_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "SECONDS_BETWEEN_ASKS", 0.0)
    told: list[int] = []
    answers = iter([None, *[NODE_A] * 5])
    train(
        tmp_path,
        ask_notice=lambda: next(answers),
        on_checkpoint=lambda step, path, metrics: told.append(step),
    )
    assert told == [2, 4, 6]
    events = [json.loads(line) for line in (tmp_path / EVENTS_NAME).read_text().splitlines()]
    names = [event["event"] for event in events if event["step"] == 2]
    assert names == ["notice", "checkpoint", "notice answered"]


@pytest.mark.slow
def test_all_workers_ask_after_the_step_at_which_the_clock_of_one_says_so(
    four_reports: list[Report],
) -> None:
    """Only one of four clocks ever says so; each worker asked, and one checkpoint answered."""
    assert [report["asked"] for report in four_reports] == [[2, 4]] * 4
    assert [report["answered"] for report in four_reports] == [[2]] * 4
