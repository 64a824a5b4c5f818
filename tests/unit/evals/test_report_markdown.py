"""Tables in Markdown, with nothing in them that Markdown would read as its own."""

from pathlib import Path

from phiray.evals.report import write_report
from tests.unit.evals.runs import change_data, write_align_runs, write_lm_runs


def test_render_markdown_has_all_rows_and_marks_blind_ones(tmp_path: Path) -> None:
    folders = [*write_lm_runs(tmp_path / "r"), *write_align_runs(tmp_path / "r")]
    report = write_report(folders, tmp_path / "report.html", notes=["a | b <i>"])
    text = report.markdown.read_text()
    assert "not another seed of training." in text
    training = text.partition("## Training")[2]
    assert "What compares are the held-out figures above." in training
    assert "| align-standard |" in text
    assert text.count("without a run's name behind it is that of the first run") == 2
    assert "| *blank* |" in text
    assert "| *blank@align-scheduled-sampling* |" in text
    assert "| *unigram@gutenberg* |" in text
    assert "## scratch@gutenberg minus litgpt@gutenberg" in text
    assert "- a \\| b \\<i\\>" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith(" |") for line in tables)


def test_render_markdown_notes_what_does_not_compare(tmp_path: Path) -> None:
    folders = write_align_runs(tmp_path / "r")
    for folder, name in zip(folders, "ab", strict=True):
        change_data(folder, "caption", examples_sha256=name)
    text = write_report(folders, tmp_path / "report.html").markdown.read_text()
    assert "**Note.** The two were scored on other examples" in text
