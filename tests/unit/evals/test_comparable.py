"""What differs between two results is said; what alters no number is not."""

from phiray.evals.comparable import comparison_notes
from phiray.evals.settings import EvalSettings


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
