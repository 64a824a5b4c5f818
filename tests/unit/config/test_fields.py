"""Walking the schema of settings."""

from phiray.config.fields import all_paths, choices_of, expectation, find_place, groups_of, tags_of
from phiray.config.model import MoeConfig
from phiray.config.stages import AlignConfig, ScratchConfig
from phiray.config.training import (
    ClusterConfig,
    ScheduledSamplingMethod,
    StandardMethod,
    TrainingConfig,
)


def test_groups_of_finds_optional_groups_and_members_of_a_union() -> None:
    assert groups_of(ScratchConfig.model_fields["model"])[0].model_fields["moe"]
    moe = groups_of(ScratchConfig.model_fields["model"])[0].model_fields["moe"]
    assert groups_of(moe) == [MoeConfig]
    method = AlignConfig.model_fields["method"]
    assert groups_of(method) == [StandardMethod, ScheduledSamplingMethod]
    assert groups_of(TrainingConfig.model_fields["max_steps"]) == []


def test_tags_of_maps_each_kind_to_its_member() -> None:
    tags = tags_of(groups_of(AlignConfig.model_fields["method"]))
    assert tags == {
        "standard": StandardMethod,
        "scheduled-sampling": ScheduledSamplingMethod,
        "autoregressive": ScheduledSamplingMethod,
    }


def test_find_place_leaves_out_the_tag_of_a_union() -> None:
    place = find_place(AlignConfig, ("method", "scheduled-sampling", "end"))
    assert place.path == ("method", "end")
    assert "rollout" in place.siblings
    assert place.field is ScheduledSamplingMethod.model_fields["end"]


def test_find_place_of_an_unknown_key_knows_its_siblings() -> None:
    place = find_place(AlignConfig, ("training", "learning_rat"))
    assert place.field is None
    assert "learning_rate" in place.siblings


def test_expectation_says_kind_and_range() -> None:
    fields = TrainingConfig.model_fields
    assert expectation(fields["learning_rate"]) == "a number above 0 and at most 1"
    assert expectation(fields["max_steps"]) == "a whole number of at least 1"
    assert expectation(fields["log_row_ids"]) == "true or false"
    assert expectation(fields["precision"]) == "fp32 or bf16"
    labels = ClusterConfig.model_fields["worker_labels"]
    assert expectation(labels) == "names with values, as {name: value}"
    assert expectation(AlignConfig.model_fields["data"]).startswith("a group of settings")


def test_choices_of_gives_the_words_of_a_literal() -> None:
    assert choices_of(TrainingConfig.model_fields["precision"]) == ["fp32", "bf16"]
    assert choices_of(TrainingConfig.model_fields["max_steps"]) == []


def test_all_paths_reaches_through_groups_and_unions() -> None:
    paths = set(all_paths(AlignConfig))
    assert ("training", "learning_rate") in paths
    assert ("method", "rollout") in paths
    assert ("data", "split", "salt") in paths
    assert ("training",) not in paths
