import json
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from phiray.errors import CheckpointError
from phiray.training.metrics_log import (
    LOSS_METRIC,
    MetricsLog,
    log_event,
    measure_step,
    read_metrics,
)
from phiray.training.step import StepResult

RESULT = StepResult(
    loss_nats_per_token=2.5,
    grad_norm=1.0,
    num_label_tokens=300,
    num_rows=6,
    balance=2.0,
    z=0.5,
    gold_probability=0.9,
    num_replaced_tokens=30,
)


def write_steps(run_dir: Path, *, start: int, end: int, offset: float = 0.0) -> int:
    log = MetricsLog(run_dir, resume_step=start)
    for step in range(start + 1, end + 1):
        log.write({"step": step, "train/loss_nats_per_token": step + offset, "row_ids": [step]})
    log.close()
    return log.num_replayed_steps


def test_metrics_log_of_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    assert write_steps(tmp_path, start=0, end=5) == 0
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "tr')  # a kill in the middle of a line
    assert write_steps(tmp_path, start=3, end=6, offset=0.5) == 2
    found = [record["train/loss_nats_per_token"] for record in read_metrics(tmp_path)]
    assert found == [1, 2, 3, 4.5, 5.5, 6.5]


def test_tensorboard_reads_the_same_numbers(tmp_path: Path) -> None:
    write_steps(tmp_path, start=0, end=5)
    write_steps(tmp_path, start=3, end=6, offset=0.5)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = {event.step: event.value for event in board.Scalars("train/loss_nats_per_token")}
    assert found == {1: 1, 2: 2, 3: 3, 4: 4.5, 5: 5.5, 6: 6.5}


def test_metrics_log_explains_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(CheckpointError, match="The metrics could not be written"):
        MetricsLog(tmp_path / "run", resume_step=0)


def test_log_event_appends_one_line_each(tmp_path: Path) -> None:
    log_event(tmp_path, "start", attempt=1, pids=[7, 8])
    log_event(tmp_path, "end", step=3)
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "end"]
    assert lines[0]["pids"] == [7, 8]


def test_read_metrics_of_a_new_run_is_empty(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_measure_step_counts_label_tokens_and_rows_over_the_whole_time() -> None:
    metrics = measure_step(RESULT, seconds=2.0, waited_seconds=0.5)
    assert metrics["tokens_per_second"] == 150
    assert metrics["samples_per_second"] == 3
    assert metrics["train/loss_nats_per_token"] == 2.5


def test_step_of_which_no_row_could_be_read_has_neither_loss_nor_gradient() -> None:
    nan = float("nan")
    skipped = replace(RESULT, loss_nats_per_token=nan, grad_norm=nan, num_label_tokens=0)
    measured = measure_step(skipped, seconds=1.0, waited_seconds=0.0)
    whole = measure_step(RESULT, seconds=1.0, waited_seconds=0.0)
    assert whole.keys() - measured.keys() == {LOSS_METRIC, "grad_norm"}
