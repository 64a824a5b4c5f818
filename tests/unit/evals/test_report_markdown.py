"""Tables in Markdown, with nothing in them that Markdown would read as its own."""

from pathlib import Path

from phiray.evals.report import write_report
from tests.unit.evals.runs import write_align_runs, write_lm_runs


def test_render_markdown_has_all_rows_and_marks_blind_ones(tmp_path: Path) -> None:
    folders = [*write_lm_runs(tmp_path / "r"), *write_align_runs(tmp_path / "r")]
    report = write_report(folders, tmp_path / "report.html", notes=["a | b <i>"])
    text = report.markdown.read_text()
    assert "| align-standard |" in text
    assert "| *blank* |" in text
    assert "| *unigram@gutenberg* |" in text
    assert "## scratch@gutenberg minus litgpt@gutenberg" in text
    assert "- a \\| b \\<i\\>" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith(" |") for line in tables)
