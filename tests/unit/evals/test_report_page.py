"""The page is whole by itself and shows text as text."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from phiray.evals import report_page
from phiray.evals.report import write_report
from phiray.evals.report_page import format_value
from phiray.evals.results import read_result, read_samples, write_result
from tests.unit.evals.runs import NUM_IMAGES, change_data, write_align_runs, write_lm_runs

_VOID = {"meta", "br", "img", "line", "polyline"}


class _Checker(HTMLParser):
    """Collects attributes and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    root: Path = tmp_path_factory.mktemp("runs")
    folders = [*write_lm_runs(root), *write_align_runs(root, answer="<script>alert(1)</script>")]
    return write_report(folders, root / "report.html").html.read_text()


@pytest.fixture(scope="module")
def checker(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    return checker


def test_page_closes_every_tag(checker: _Checker) -> None:
    assert checker.open == []


def test_page_asks_nobody_for_anything(page: str, checker: _Checker) -> None:
    sources = [value for _, name, value in checker.attributes if name in {"src", "href"}]
    assert sources
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in sources)
    assert not re.search(r"https?://|@import|url\(", page)
    policy = next(v for _, name, v in checker.attributes if name == "content" and "src" in v)
    assert policy.startswith("default-src 'none'")


def test_page_shows_what_models_say_as_text(page: str, checker: _Checker) -> None:
    assert "<script" not in page
    assert "<script>alert(1)</script>" in checker.text
    assert "picture <b>" in checker.text


def test_page_links_to_its_own_parts(checker: _Checker) -> None:
    parts = {value for _, name, value in checker.attributes if name == "id"}
    links = {value[1:] for _, name, value in checker.attributes if name == "href"}
    assert links
    assert links <= parts


def test_page_has_pictures_curves_and_all_rows(page: str, checker: _Checker) -> None:
    assert page.count("<img ") == 4
    assert page.count("<polyline ") == 4
    for arm in ("scratch@redpajama", "unigram@gutenberg", "align-standard", "constant"):
        assert arm in checker.text


def test_page_says_what_intervals_do_not_cover(checker: _Checker) -> None:
    assert "not another seed of training." in checker.text


def test_page_says_under_the_losses_that_they_need_not_compare(page: str) -> None:
    training = page.partition('<section id="training">')[2].partition("</section>")[0]
    losses, _, after = training.partition("Training losses of one chart or column need not compare")
    assert "</table>" in losses
    assert "<polyline" in losses
    assert "held-out figures above" in after


def test_page_says_in_each_suite_whose_a_blind_row_is(checker: _Checker) -> None:
    assert checker.text.count("without a run's name behind it is that of the first run") == 2


def test_page_heads_every_row_with_its_name_and_marks_blind_ones(page: str) -> None:
    bodies = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    rows = [row for body in bodies for row in re.findall(r"<tr[^>]*>(<\w+[^>]*>)", body)]
    assert rows
    assert set(rows) == {'<th scope="row">'}
    assert '<tr class="blind"><th scope="row">constant (blind)<' in page
    assert '<tr><th scope="row">align-standard<' in page


def test_page_shows_n_once_where_it_is_that_of_the_row(page: str, tmp_path: Path) -> None:
    count = f'<span class="n">n = {NUM_IMAGES}</span>'
    assert f'<th scope="row">align-standard{count}</th>' in page
    assert f"{count}</td>" not in page
    assert 'title="n' not in page
    folder = write_align_runs(tmp_path)[0]
    place = folder / "evals" / "caption"
    result = read_result(place)
    arms = {arm: dict(metrics) for arm, metrics in result.arms.items()}
    arms["align-standard"]["cider_d"] = replace(arms["align-standard"]["cider_d"], n=1234)
    write_result(place, replace(result, arms=arms), read_samples(place))
    mixed = write_report([folder], tmp_path / "report.html").html.read_text()
    assert '<th scope="row">align-standard</th>' in mixed
    assert mixed.count(f"{count}</td>") == 2
    assert mixed.count('<span class="n">n = 1,234</span></td>') == 1


def test_page_warns_of_what_does_not_compare(page: str, tmp_path: Path) -> None:
    folders = write_align_runs(tmp_path)
    for folder, name in zip(folders, "ab", strict=True):
        change_data(folder, "caption", idf_sha256=name)
    noted = write_report(folders, tmp_path / "report.html").html.read_text()
    assert '<p class="warning">CIDEr-D was weighed with other' in noted
    assert page.count('<p class="warning">') == 2
    assert page.count('<p class="warning">The runs differ in training: scratch learnt from') == 2


def test_page_shows_a_comparison_without_a_sample_in_common(tmp_path: Path) -> None:
    folders = write_align_runs(tmp_path)
    place = folders[1] / "evals" / "caption"
    moved = [replace(s, sample_id=f"other-{s.sample_id}") for s in read_samples(place)]
    write_result(place, read_result(place), moved)
    checker = _Checker()
    checker.feed(write_report(folders, tmp_path / "report.html").html.read_text())
    assert checker.open == []
    assert "scored on no common sample" in checker.text


def _contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours `#rrggbb` as WCAG 2 defines it."""
    lights = []
    for colour in (first, second):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        lights.append(sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_every_colour_of_text_has_the_contrast_of_wcag_aa() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21.0)
    css = Path(report_page.__file__).with_name("report_style.css.jinja").read_text()
    themes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    used = set(re.findall(r"(?<![\w-])(?:color|fill): var\(--(\w+)\)", css))
    assert len(themes) == 2
    assert {"ink", "soft", "faint", "accent", "good", "bad"} <= used
    low = [
        (colour, background, theme[colour])
        for theme in themes
        for colour in used
        for background in ("page", "card", "blind")
        if _contrast(theme[colour], theme[background]) < 4.5
    ]
    assert low == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1234, "0.123"),
        (12.345, "12.35"),
        (123.45, "123.5"),
        (12345.6, "12,346"),
        (-0.5, "-0.500"),
        (0.0123, "0.012"),
        (0.00987, "0.0099"),
        (0.0004, "0.0004"),
        (-0.000421, "-0.00042"),
        (0.0, "0"),
        (-0.0, "0"),
    ],
)
def test_format_value_keeps_what_a_reader_can_use(value: float, text: str) -> None:
    assert format_value(value) == text
