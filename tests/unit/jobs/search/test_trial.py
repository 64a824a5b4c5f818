import json
from pathlib import Path

from phiray.jobs.search.trial import measured_until_checkpoint
from phiray.training.collective import Collective
from phiray.training.loop import VALIDATION_METRIC
from phiray.training.step import StepSettings
from phiray.training.validation import Validation
from tests.unit.training.training_builders import CPU, build_batch, train


def test_only_what_a_resumed_run_will_not_measure_again_is_told(tmp_path: Path) -> None:
    assert measured_until_checkpoint(tmp_path / "run") == []
    settings = StepSettings(max_grad_norm=1.0, precision="fp32", device=CPU)
    validation = Validation([build_batch([1, 2])], settings=settings, collective=Collective())
    train(tmp_path / "run", validate=validation.measure)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 8, VALIDATION_METRIC: 9.0}) + "\n")  # not committed
    told = measured_until_checkpoint(tmp_path / "run")
    assert [step for step, _ in told] == [2, 4, 6]
    assert all(nats > 0 for _, nats in told)
