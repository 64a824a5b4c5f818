import pytest

from phiray.config.load import load_config
from phiray.planning.devices import read_devices
from phiray.planning.plan import PlanOptions, build_plan
from phiray.planning.show import memory_header, memory_rows, short, summary_rows


@pytest.mark.parametrize(
    ("value", "text"),
    [(999, "999 "), (1500, "1.5 k"), (2.78e9, "2.78 G"), (1e14, "100 T"), (3e15, "3 P")],
)
def test_large_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_tables_hold_what_the_plan_says() -> None:
    config = load_config("phi-2", "align")
    plan = build_plan(config, PlanOptions(device="A100-80"), devices=read_devices())
    rows = dict(summary_rows(plan))
    assert "8,524,800" in rows["of them trained"]
    assert "40% (assumed) of 312 TFLOP/s" in rows["speed of a worker"]
    assert "L4" in rows["cheapest that fits"]
    assert "feature cache" not in rows
    memory = memory_rows(plan)
    assert all(len(row) == len(memory_header(plan)) for row in memory)
    assert memory[-2][0] == "at the peak"
    assert float(memory[-2][1]) == pytest.approx(plan.memory["ddp"].total / 2**30, abs=0.01)


def test_a_cache_of_features_is_told_by_its_size() -> None:
    config = load_config("phi-2", "align", overrides=["data.feature_cache=features"])
    plan = build_plan(config, PlanOptions(), devices=read_devices())
    assert dict(summary_rows(plan))["feature cache"] == "3.01 GB"
