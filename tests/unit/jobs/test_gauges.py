import json
import re
from pathlib import Path

import pytest

from phiray.jobs import gauges
from phiray.jobs.gauges import StepGauges
from phiray.training.metrics_log import measure_step
from phiray.training.step import StepResult

DASHBOARD = Path(__file__).resolve().parents[3] / "cluster/monitoring/grafana-dashboard.json"
RESULT = StepResult(
    2.5, 1.0, 300, 6, balance=2.0, z=0.5, gold_probability=0.9, num_replaced_tokens=0
)


class Gauge:
    """Keeps what it is set to."""

    values: dict[str, tuple[float, dict[str, str]]]

    def __init__(self, name: str, *, description: str, tag_keys: tuple[str, ...]) -> None:
        assert description
        assert tag_keys == ("run",)
        self._name = name

    def set(self, value: float, *, tags: dict[str, str]) -> None:
        Gauge.values[self._name] = (value, tags)


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    Gauge.values = {}
    monkeypatch.setattr(gauges, "Gauge", Gauge)


def measured() -> dict[str, float]:
    of_step = measure_step(RESULT, seconds=2.0, waited_seconds=0.5)
    return {
        "step": 7,
        "learning_rate": 0.1,
        "bad_rows": 3,
        "validation/loss_nats_per_token": 2.0,
    } | of_step


def test_a_step_sets_every_gauge() -> None:
    StepGauges("align", flops_per_row=1e6)(measured())
    assert {tags["run"] for _, tags in Gauge.values.values()} == {"align"}
    found = {name: value for name, (value, _) in Gauge.values.items()}
    assert found["phiray_loss_nats_per_token"] == 2.5
    assert found["phiray_validation_loss_nats_per_token"] == 2.0
    assert found["phiray_tokens_per_second"] == 150
    assert found["phiray_data_wait_fraction"] == 0.25
    assert found["phiray_model_flops_per_second"] == 3e6
    assert found["phiray_bad_rows"] == 3
    assert found["phiray_router_balance"] == 2.0


def test_what_a_step_did_not_measure_keeps_its_value() -> None:
    step = {key: value for key, value in measured().items() if "loss" not in key}
    StepGauges("x", flops_per_row=1.0)(step)
    assert "phiray_loss_nats_per_token" not in Gauge.values


def test_dashboard_asks_for_gauges_alone() -> None:
    StepGauges("x", flops_per_row=1.0)(measured())
    asked = set(re.findall(r"ray_(phiray_\w+)", DASHBOARD.read_text()))
    assert asked == set(Gauge.values)
    assert len(json.loads(DASHBOARD.read_text())["panels"]) == 10
