"""What differs between two results is said; what alters no number is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from phiray.config.model import MoeConfig, PhiConfig, ProjectorConfig
from phiray.config.stages import AlignConfig
from phiray.evals.collect import collect_runs
from phiray.evals.comparable import comparison_notes, training_notes
from phiray.evals.settings import EvalSettings
from tests.unit.evals.runs import write_align_runs, write_lm_runs


def _data(settings: EvalSettings | None = None, **changes: object) -> dict[str, object]:
    return {
        "settings": (settings or EvalSettings()).model_dump(mode="json"),
        "examples_sha256": "a",
        "idf_sha256": "b",
        "tokenizer_sha256": "c",
        **changes,
    }


def test_comparison_notes_are_silent_on_equal_results_and_on_what_alters_no_number() -> None:
    assert comparison_notes(_data(), _data()) == []
    faster = EvalSettings(batch_size=7, gallery_size=1)
    assert comparison_notes(_data(), _data(faster, step=9)) == []


def test_comparison_notes_name_settings_with_both_values() -> None:
    (note,) = comparison_notes(_data(), _data(EvalSettings(max_images=50, seed=3)))
    assert note == "The two were scored with other settings: max_images 200 and 50, seed 0 and 3."


def test_comparison_notes_name_other_examples_idf_and_tokenizer() -> None:
    other = _data(examples_sha256="x", idf_sha256="y", tokenizer_sha256="z")
    examples, idf, tokenizer = comparison_notes(_data(), other)
    assert "other examples" in examples
    assert "CIDEr-D" in idf
    assert "other tokenizers" in tokenizer


def test_comparison_notes_look_at_the_set_that_is_compared() -> None:
    first = _data(gutenberg={"sequence_length": 128}, redpajama={"sequence_length": 64})
    second = _data(gutenberg={"sequence_length": 32}, redpajama={"sequence_length": 64})
    (note,) = comparison_notes(first, second, data_set="gutenberg")
    assert "windows of 128 and of 32 tokens" in note
    assert comparison_notes(first, second, data_set="redpajama") == []


def test_comparison_notes_claim_nothing_of_what_was_not_recorded() -> None:
    bare = {"settings": EvalSettings().model_dump(mode="json")}
    assert comparison_notes(bare, _data()) == []


def test_training_notes_name_text_experts_and_sizes_that_differ(tmp_path: Path) -> None:
    scratch, litgpt = collect_runs(write_lm_runs(tmp_path))
    moe = MoeConfig(num_experts=4, num_experts_per_token=2)
    model = PhiConfig(hidden_size=1280, moe=moe)
    mixed = replace(scratch, config=scratch.config.model_copy(update={"model": model}))
    assert training_notes(mixed, litgpt) == [
        "The runs differ in training: scratch learnt from gutenberg, litgpt from redpajama; "
        "scratch has a mixture of 4 experts, 2 per token, litgpt is dense; hidden_size is 1280 and "
        "2560. What a difference comes from cannot be told."
    ]
    one = PhiConfig(hidden_size=1280, moe=moe.model_copy(update={"num_experts_per_token": 1}))
    other = replace(mixed, config=mixed.config.model_copy(update={"model": one}))
    assert "4 experts, 1 per token" in training_notes(mixed, other)[0]
    assert training_notes(mixed, mixed) == []


@pytest.mark.parametrize(("tokens", "noted"), [(990, False), (989, True), (1011, True)])
def test_training_notes_count_label_tokens(tmp_path: Path, tokens: int, noted: bool) -> None:
    first, second = (
        replace(run, curve=replace(run.curve, label_tokens=count))
        for run, count in zip(collect_runs(write_align_runs(tmp_path)), (1000, tokens), strict=True)
    )
    notes = training_notes(first, second)
    expected = f"learnt from 1,000 label tokens and align-scheduled-sampling from {tokens:,}: more "
    assert [expected in note for note in notes] == [True] * noted


def test_training_notes_say_what_projectors_were_built_on_but_not_where(tmp_path: Path) -> None:
    first, second = collect_runs(write_align_runs(tmp_path))
    assert training_notes(first, second) == []
    config = second.config
    assert isinstance(config, AlignConfig)
    changes = {"language_model": "elsewhere/litgpt", "projector": ProjectorConfig(kind="linear")}
    other = replace(second, config=config.model_copy(update=changes))
    (note,) = training_notes(first, other)
    assert "language_model is scratch and litgpt, projector is mlp and linear" in note
