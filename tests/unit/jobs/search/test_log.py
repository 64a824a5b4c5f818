from pathlib import Path

from phiray.jobs.search.log import LOG_FILE, SearchLog, TrialEnd, TrialResult


def test_what_is_added_is_read_back_in_its_order(tmp_path: Path) -> None:
    log = SearchLog(tmp_path)
    items = [TrialResult(1, 10, 2.5), TrialResult(0, 10, 2.0), TrialResult(1, 20, 2.25)]
    for item in items:
        log.add(item)
    log.add(TrialEnd(1, "stopped"))
    again = SearchLog(tmp_path)
    assert again.results == items
    assert again.endings == {1: "stopped"}
    assert again.ended_results() == [items[0], items[2]]
    assert again.results_of(0) == [items[1]]


def test_a_figure_that_is_told_again_stands_once(tmp_path: Path) -> None:
    log = SearchLog(tmp_path)
    for _ in range(2):
        log.add(TrialResult(1, 10, 2.5))
    assert len((tmp_path / LOG_FILE).read_text().splitlines()) == 1


def test_a_torn_line_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    SearchLog(tmp_path).add(TrialResult(0, 10, 2.0))
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write('{"trial": 0, "st')
    SearchLog(tmp_path).add(TrialResult(0, 20, 1.5))
    assert [result.step for result in SearchLog(tmp_path).results] == [10, 20]
