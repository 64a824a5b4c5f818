"""Cards hold what each run said of the same picture."""

from pathlib import Path

from phiray.evals.collect import collect_runs
from phiray.evals.report_gallery import build_galleries
from tests.unit.evals.runs import NUM_IMAGES, SETTINGS, write_align_runs


def test_build_galleries_shows_all_runs_and_one_blind_answer(tmp_path: Path) -> None:
    runs = collect_runs(write_align_runs(tmp_path))
    (gallery,) = build_galleries(runs, encode=lambda path: path.name)
    assert gallery.suite == "caption"
    assert len(gallery.cards) == SETTINGS.gallery_size
    assert gallery.num_candidates == NUM_IMAGES
    for card in gallery.cards:
        assert card.picture == f"{card.name}.jpg"
        (exchange,) = card.exchanges
        assert exchange.question is None
        assert [answer.arm for answer in exchange.answers] == [
            "align-standard",
            "align-scheduled-sampling",
            "blank",
        ]
        assert [answer.is_blind for answer in exchange.answers] == [False, False, True]


def test_build_galleries_passes_over_a_suite_without_pictures(tmp_path: Path) -> None:
    folders = write_align_runs(tmp_path)
    for picture in tmp_path.rglob("*.jpg"):
        picture.unlink()
    assert build_galleries(collect_runs(folders), encode=str) == []
