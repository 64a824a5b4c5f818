"""Settings of training."""

import pytest
from pydantic import ValidationError

from phiray.config.training import ClusterConfig, ScheduledSamplingMethod, TrainingConfig


def test_training_config_refuses_a_warm_up_that_never_ends() -> None:
    with pytest.raises(ValidationError, match=r"warmup_steps is 10, but max_steps is 10"):
        TrainingConfig(warmup_steps=10, max_steps=10)


def test_training_config_refuses_micro_batches_without_a_row() -> None:
    match = r"gradient_accumulation_steps is 9, but global_batch_size is 8"
    with pytest.raises(ValidationError, match=match):
        TrainingConfig(gradient_accumulation_steps=9, global_batch_size=8)
    TrainingConfig(gradient_accumulation_steps=8, global_batch_size=8)


def test_scheduled_sampling_refuses_a_rising_probability_of_gold() -> None:
    with pytest.raises(ValidationError, match=r"end is 0\.5, above start \(0\.25\)"):
        ScheduledSamplingMethod(start=0.25, end=0.5)


def test_scheduled_sampling_refuses_a_schedule_that_is_dead_after_step_0() -> None:
    with pytest.raises(ValidationError, match=r"dead after step 0"):
        ScheduledSamplingMethod(schedule="exponential", end=0.0)


def test_scheduled_sampling_lets_a_linear_schedule_end_at_0() -> None:
    assert ScheduledSamplingMethod(schedule="linear", end=0.0).end == 0


def test_cluster_config_refuses_no_workers() -> None:
    with pytest.raises(ValidationError, match=r"workers\n.*greater than or equal to 1"):
        ClusterConfig(workers=0)


def test_exact_rollout_makes_no_passes() -> None:
    with pytest.raises(ValidationError, match="num_passes is 7, but rollout is exact"):
        ScheduledSamplingMethod(rollout="exact", num_passes=7)


def test_an_elastic_run_has_a_fewest_and_a_most() -> None:
    assert ClusterConfig(workers=2).most_workers == 2
    assert ClusterConfig(workers=1, max_workers=4).most_workers == 4
    with pytest.raises(ValidationError, match="the fewest would be more than the most"):
        ClusterConfig(workers=3, max_workers=2)


@pytest.mark.parametrize("key", ["worker_labels", "reader_labels"])
@pytest.mark.parametrize(
    ("name", "value"),
    [("ray.io/accelerator-type", "A100"), ("phiray/role", "train"), ("zone", "eu-1_a.2")],
)
def test_labels_of_nodes_are_taken(key: str, name: str, value: str) -> None:
    assert getattr(ClusterConfig.model_validate({key: {name: value}}), key) == {name: value}


@pytest.mark.parametrize("key", ["worker_labels", "reader_labels"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "a"),
        ("a b", "c"),
        ("a/b/c", "d"),
        ("a", ""),
        ("a", "-b"),
        ("a", "in(b,c)"),
        ("a", "!b"),
    ],
)
def test_what_is_no_label_is_refused(key: str, name: str, value: str) -> None:
    with pytest.raises(ValidationError, match="is no label of a node"):
        ClusterConfig.model_validate({key: {name: value}})


def test_an_elastic_run_counts_its_room_without_labels() -> None:
    labels = {"phiray/role": "train"}
    ClusterConfig(worker_labels=labels, max_workers=2, use_gpu=True)
    ClusterConfig(reader_labels=labels, max_workers=2)
    with pytest.raises(ValidationError, match="by CPUs alone"):
        ClusterConfig(worker_labels=labels, max_workers=2)
