import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from phiray.config.search import Dimension
from phiray.evals.search_page import find_importances, first_rung, write_search_page
from tests.unit.evals.search_builders import build_summary

KIND = Dimension("projector.kind", "choice", ("linear", "mlp", "moe"))


def page(tmp_path: Path, *, confirmed: bool = True) -> str:
    out = tmp_path / "report.html"
    write_search_page(
        build_summary(confirmed=confirmed),
        dimensions=[KIND],
        base={"projector.kind": "mlp"},
        out=out,
    )
    return out.read_text()


def test_page_shows_all_trials_and_the_winner(tmp_path: Path) -> None:
    text = page(tmp_path)
    HTMLParser().feed(text)
    assert "2 (best)" in text
    for needle in ("stopped", "not run", "projector.kind=moe", "Parallel coordinates", "-0.7500"):
        assert needle in text, needle
    assert len(re.findall(r"<polyline class=\"(best|complete|stopped)\"", text)) == 4


def test_page_loads_nothing_and_escapes_what_it_shows(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert not re.search(r"(src|href)=\"(?!#|data:)", text)
    assert "<script" not in text
    assert "<b></td>" not in text
    assert "&lt;b&gt;" in text


def test_page_without_confirmation_has_no_such_section(tmp_path: Path) -> None:
    assert "on new seeds" not in page(tmp_path, confirmed=False)


def test_first_rung_is_where_all_trials_that_ran_compare() -> None:
    rung = first_rung(build_summary().trials)
    assert rung is not None
    assert (rung.step, rung.values) == (10, [2.0, 3.0, 1.0, 2.5])


def test_importance_counts_base_by_its_own_value() -> None:
    rung = first_rung(build_summary().trials)
    assert rung is not None
    (found,) = find_importances(rung, [KIND], {"projector.kind": "moe"})
    # moe: 2 and 1, linear: 3, <b>: 2.5; mean 2.125; total 2.1875, within 0.5
    assert found.explained_fraction == 1 - 0.5 / 2.1875


def test_page_is_drawn_where_base_has_no_number(tmp_path: Path) -> None:
    rate = Dimension("a.rate", "loguniform", (0.1, 1.0))
    for value in (None, 0.0):
        trials = [
            replace(trial, changes={"a.rate": 0.1 * trial.number} if trial.number else {})
            for trial in build_summary().trials
        ]
        summary = replace(build_summary(), trials=trials)
        write_search_page(
            summary, dimensions=[rate], base={"a.rate": value}, out=tmp_path / "report.html"
        )
        assert "Parallel coordinates" in (tmp_path / "report.html").read_text()
