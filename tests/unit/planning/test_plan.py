import json
import subprocess
import sys
from dataclasses import replace

import pytest

from phiray.config.load import load_config
from phiray.errors import ConfigError
from phiray.planning.devices import Device, read_devices
from phiray.planning.plan import GIB, Plan, PlanOptions, build_plan

H100 = PlanOptions(device="H100")
HEAVY_MODULES = ("torch", "ray", "transformers", "open_clip", "litgpt", "pyarrow")


def plan(stage: str, *changes: str, options: PlanOptions = H100, preset: str = "phi-2") -> Plan:
    config = load_config(preset, stage, overrides=changes)
    return build_plan(config, replace(options, stand_in=preset), devices=read_devices())


def test_planning_loads_nothing_of_weight() -> None:
    code = (
        "import sys; from phiray.config.load import load_config\n"
        "from phiray.planning.devices import read_devices\n"
        "from phiray.planning.plan import PlanOptions, build_plan\n"
        "config = load_config('phi-2', 'instruct')\n"
        "build_plan(config, PlanOptions(device='H100'), devices=read_devices())\n"
        f"print([name for name in {HEAVY_MODULES} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_parameters_of_instruct_are_trained_but_for_the_tower() -> None:
    found = plan("instruct").parameters
    assert found.total - found.trained == found.tower
    assert plan("align").parameters.trained == found.projector


def test_twice_the_workers_take_half_the_time_at_the_same_cost() -> None:
    one, two = plan("scratch").pace, plan("scratch", "cluster.workers=2").pace
    assert one is not None
    assert two is not None
    assert two.hours == pytest.approx(one.hours / 2)
    assert two.usd == pytest.approx(one.usd)
    assert one.hours == pytest.approx(one.step_seconds * 15_000 / 3600)


def test_workers_beyond_the_rows_of_a_batch_make_nothing_faster() -> None:
    """Nor does one that takes a single row less than the fullest: all wait for that."""
    hours = {}
    for workers in (31, 32, 64):
        pace = plan("scratch", f"cluster.workers={workers}").pace
        assert pace is not None
        hours[workers] = pace.hours
    assert hours[31] == 2 * hours[32]
    assert hours[64] == hours[32]


def test_measured_speed_takes_the_place_of_a_device() -> None:
    found = plan("scratch", options=PlanOptions(flops_per_second=1e12))
    assert found.pace is not None
    assert found.pace.hours == pytest.approx(found.flops / 1e12 / 3600)
    assert (found.pace.usd, found.pace.basis) == (None, "as given")


def test_mfu_that_is_given_is_no_assumption() -> None:
    given, assumed = plan("scratch", options=replace(H100, mfu=0.2)).pace, plan("scratch").pace
    assert given is not None
    assert assumed is not None
    assert given.hours == pytest.approx(2 * assumed.hours)
    assert "assumed" in assumed.basis
    assert "assumed" not in given.basis


def test_without_a_speed_there_is_no_time() -> None:
    assert plan("scratch", options=PlanOptions()).pace is None


def test_more_micro_batches_hold_fewer_rows() -> None:
    whole = plan("instruct", "training.gradient_accumulation_steps=16")
    half = plan("instruct", "training.gradient_accumulation_steps=32")
    assert (whole.rows_per_micro_batch, half.rows_per_micro_batch) == (8, 4)
    assert half.memory["ddp"].activations < whole.memory["ddp"].activations


def test_suggestion_is_the_cheapest_that_fits() -> None:
    found = plan("align").suggestion
    assert found is not None
    devices = read_devices()
    assert found.device is not None
    assert found.memory_gib <= 0.92 * devices[found.device].memory_gib
    cheaper = [d for d in devices.values() if d.usd_per_hour < found.usd_per_hour]
    assert all(d.bf16_tflops == 0 or d.memory_gib < found.memory_gib for d in cheaper)
    setting = f"training.gradient_accumulation_steps={found.gradient_accumulation_steps}"
    asked = plan("align", f"cluster.workers={found.workers}", setting)
    assert asked.memory["ddp"].total / GIB == pytest.approx(found.memory_gib)


@pytest.mark.parametrize(
    ("stage", "changes", "mend"),
    [
        ("scratch", ["model.num_hidden_layers=320"], "take a smaller model"),
        (
            "align",
            ["data.max_length=400000", "training.global_batch_size=1"],
            "shorten the rows",
        ),
    ],
)
def test_where_nothing_fits_the_plan_says_what_to_change(
    stage: str, changes: list[str], mend: str
) -> None:
    options = replace(H100, longest_row=400_000)
    if stage == "align":
        changes = [*changes, "training.gradient_accumulation_steps=1"]
    found = plan(stage, *changes, options=options).suggestion
    assert found is not None
    assert found.device is None
    assert "nothing in the table fits" in found.told
    assert mend in found.told


def test_cpu_runs_get_no_suggestion_of_gpus() -> None:
    assert plan("scratch", preset="tiny").suggestion is None


def test_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="--device B9 is not in the table"):
        plan("scratch", options=PlanOptions(device="B9"))


def test_device_without_bf16_is_refused() -> None:
    with pytest.raises(ConfigError, match="--device T4 has no bf16"):
        plan("scratch", options=PlanOptions(device="T4"))


def test_plan_is_plain_json() -> None:
    found = json.loads(json.dumps(plan("instruct").to_json()))
    assert found["memory"]["ddp"]["total"] == plan("instruct").memory["ddp"].total
    assert found["parameters"]["total"] == 2_876_057_856


def test_own_table_decides_on_what_fits() -> None:
    huge = Device(name="X", memory_gib=900, bf16_tflops=1, fp32_tflops=1, usd_per_hour=1)
    config = load_config("phi-2", "instruct")
    found = build_plan(config, PlanOptions(), devices={"X": huge}).suggestion
    assert found is not None
    assert (found.device, found.gradient_accumulation_steps) == ("X", 1)


def test_a_cache_of_features_takes_the_tower_out_of_steps_and_room_on_the_disk() -> None:
    plain, cached = plan("align"), plan("align", "data.feature_cache=features")
    assert plain.feature_bytes == 0
    assert cached.feature_bytes == 40_000 * 49 * 768 * 2
    assert cached.flops_per_row.tower == 0 < plain.flops_per_row.tower
    assert cached.flops_per_row.language_model == plain.flops_per_row.language_model
    assert cached.data_bytes == plain.data_bytes
    assert plan("scratch").feature_bytes == 0
