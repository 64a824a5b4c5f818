"""Paired differences between runs, and rows that keep their names."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from phiray.errors import ConfigError, DataError, ExitCode
from phiray.evals.collect import collect_runs
from phiray.evals.comparable import NO_SHARED_SAMPLE, cluster_notes
from phiray.evals.compare import (
    Comparison,
    RunComparison,
    compare_runs,
    compare_samples,
    merge_arms,
)
from phiray.evals.report import write_report
from phiray.evals.results import Sample, read_result, read_samples, write_result
from tests.unit.evals.runs import change_data, write_align_runs, write_lm_runs

TEXT_NOTE = (
    "The runs differ in training: scratch learnt from gutenberg, litgpt from redpajama. What "
    "a difference comes from cannot be told."
)


def test_compare_runs_pairs_each_set_with_itself(tmp_path: Path) -> None:
    result = compare_runs(write_lm_runs(tmp_path))
    assert [(c.first, c.second) for c in result.comparisons] == [
        ("scratch@gutenberg", "litgpt@gutenberg"),
        ("scratch@redpajama", "litgpt@redpajama"),
    ]
    comparison = result.comparisons[0]
    difference = comparison.differences["bits_per_byte"].metric
    first, second = (
        result.evals["lm"][arm]["bits_per_byte"].value
        for arm in ("scratch@gutenberg", "litgpt@gutenberg")
    )
    assert difference.value == pytest.approx(first - second)
    assert difference.ci95[1] < 0
    assert comparison.better("bits_per_byte") == "scratch@gutenberg"
    assert comparison.label_tokens == {"scratch@gutenberg": 2000, "litgpt@gutenberg": 2000}


def test_compare_runs_knows_that_more_can_be_better(tmp_path: Path) -> None:
    comparison = compare_runs(write_align_runs(tmp_path)).comparisons[0]
    assert comparison.differences["cider_d"].metric.ci95[0] > 0
    assert comparison.better("cider_d") == "align-standard"
    assert comparison.better("bits_per_byte") == "align-standard"


def test_compare_runs_leaves_open_what_the_interval_leaves_open(tmp_path: Path) -> None:
    folders = write_align_runs(tmp_path)
    samples = read_samples(folders[0] / "evals" / "caption")
    own = [sample for sample in samples if sample.arm == "align-standard"]
    differences = compare_samples(own, own)
    comparison = replace(compare_runs(folders).comparisons[0], differences=differences)
    assert differences["cider_d"].metric.value == 0.0
    assert comparison.better("cider_d") is None


def test_compare_runs_notes_nothing_where_nothing_differs(tmp_path: Path) -> None:
    runs = [*write_lm_runs(tmp_path), *write_align_runs(tmp_path)]
    result = compare_runs(runs)
    assert len(result.comparisons) == 3
    text = TEXT_NOTE
    assert [comparison.notes for comparison in result.comparisons] == [[text], [text], []]
    assert result.to_text().count("note:") == 2


def test_compare_runs_notes_other_data_in_text_and_json(tmp_path: Path) -> None:
    folders = write_lm_runs(tmp_path)
    for folder, length in zip(folders, (128, 64), strict=True):
        change_data(folder, "lm", redpajama={"sequence_length": length})
    result = compare_runs(folders)
    noted = {comparison.first: comparison.notes for comparison in result.comparisons}
    assert noted["scratch@gutenberg"] == [TEXT_NOTE]
    text, windows = noted["scratch@redpajama"]
    assert text == TEXT_NOTE
    assert "windows of 128 and of 64 tokens" in windows
    assert f"  note: {windows}" in result.to_text()
    assert windows in str(result.to_json()["comparisons"])


def test_scores_of_an_older_checkpoint_are_noted_in_comparison_and_report(tmp_path: Path) -> None:
    folders = write_align_runs(tmp_path)
    for folder, step in zip(folders, (10, 20), strict=True):
        change_data(folder, "caption", step=step)
    (comparison,) = compare_runs(folders).comparisons
    (note,) = comparison.notes
    assert "caption of align-standard scored the checkpoint of step 10" in note
    assert "go on to step 20" in note
    report = write_report(folders, tmp_path / "report.html")
    assert note in json.loads(report.json.read_text())["notes"]


def test_compare_runs_says_that_two_runs_share_no_sample(tmp_path: Path) -> None:
    folders = write_align_runs(tmp_path)
    place = folders[1] / "evals" / "caption"
    moved = [replace(s, sample_id=f"other-{s.sample_id}") for s in read_samples(place)]
    write_result(place, read_result(place), moved)
    (comparison,) = compare_runs(folders).comparisons
    assert comparison.differences == {}
    assert comparison.notes == [NO_SHARED_SAMPLE]


def test_compare_samples_matches_by_id_whatever_the_order() -> None:
    first = [Sample("a", str(k), str(k), {"rouge_l": [0.1 * k, 1.0]}) for k in range(6)]
    second = [Sample("b", str(k), str(k), {"rouge_l": [0.1 * k, 1.0]}) for k in range(9, 1, -1)]
    difference = compare_samples(first, second)["rouge_l"].metric
    assert difference.n == 4
    assert difference.value == pytest.approx(0.0, abs=1e-15)
    assert difference.ci95 == pytest.approx((0.0, 0.0), abs=1e-15)


def test_compare_samples_without_shared_ids_says_nothing() -> None:
    first = [Sample("a", "1", "1", {"rouge_l": [0.5, 1.0]})]
    second = [Sample("b", "2", "2", {"rouge_l": [0.5, 1.0]})]
    assert compare_samples(first, second) == {}


@pytest.mark.parametrize(
    ("num_images", "better", "noted"), [(9, None, True), (10, "a", True), (30, "a", False)]
)
def test_a_difference_of_few_clusters_gets_no_verdict_and_a_note(
    tmp_path: Path, num_images: int, better: str | None, noted: bool
) -> None:
    # Two samples of each image: what is counted are images.
    arms = [
        [
            Sample(arm, f"{k}#{n}", str(k), {"rouge_l": [level + 0.001 * k, 1.0]})
            for k in range(num_images)
            for n in range(2)
        ]
        for arm, level in (("a", 0.8), ("b", 0.5))
    ]
    differences = compare_samples(*arms)
    comparison = Comparison("caption", "a", "b", {}, differences, [])
    assert differences["rouge_l"].metric.ci95[0] > 0
    assert differences["rouge_l"].metric.n == 2 * num_images
    assert differences["rouge_l"].num_clusters == num_images
    assert comparison.better("rouge_l") == better
    assert ("open" in RunComparison({}, [comparison]).to_text()) is (better is None)
    notes = cluster_notes([100, num_images])
    assert [f"as few as {num_images} images or documents" in note for note in notes] == [
        True
    ] * noted


def test_compare_runs_notes_few_clusters(tmp_path: Path) -> None:
    folders = write_align_runs(tmp_path)
    for folder in folders:
        place = folder / "evals" / "caption"
        write_result(
            place, read_result(place), [s for s in read_samples(place) if int(s.cluster) < 9]
        )
    (comparison,) = compare_runs(folders).comparisons
    assert comparison.notes == cluster_notes([9])
    assert "below 10 neither is called better" in comparison.notes[0]
    assert comparison.better("cider_d") is None


def test_merge_arms_keeps_equal_blind_rows_once_and_names_others(tmp_path: Path) -> None:
    merged = merge_arms(collect_runs(write_align_runs(tmp_path)))
    # `blank` differs between the two models, the constant caption does not.
    assert list(merged["caption"]) == [
        "align-standard",
        "align-scheduled-sampling",
        "blank",
        "constant",
        "blank@align-scheduled-sampling",
    ]


def test_merge_arms_orders_suites_as_the_stages(tmp_path: Path) -> None:
    folders = [*write_align_runs(tmp_path), *write_lm_runs(tmp_path)]
    assert list(merge_arms(collect_runs(folders))) == ["lm", "caption"]


def test_compare_runs_as_text_names_the_better_one(tmp_path: Path) -> None:
    text = compare_runs(write_align_runs(tmp_path)).to_text()
    assert "align-standard minus align-scheduled-sampling (label tokens" in text
    assert "align-standard is better" in text


def test_compare_runs_as_json_has_the_form_of_the_report(tmp_path: Path) -> None:
    payload = compare_runs(write_align_runs(tmp_path)).to_json()
    assert set(payload) == {"evals", "comparisons"}


def test_compare_runs_refuses_runs_that_were_not_evaluated(tmp_path: Path) -> None:
    folders = write_lm_runs(tmp_path)
    (folders[1] / "evals" / "lm" / "result.json").unlink()
    with pytest.raises(DataError, match="litgpt was not evaluated") as caught:
        compare_runs(folders)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_compare_runs_refuses_a_single_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 run is named") as caught:
        compare_runs(write_lm_runs(tmp_path)[:1])
    assert caught.value.exit_code == ExitCode.USAGE
