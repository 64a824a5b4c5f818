import threading
import time
from collections.abc import Iterator

import pytest

from phiray.fetch.parallel import in_threads


def test_every_item_comes_back_once_with_its_result() -> None:
    found = dict(in_threads(lambda n: n * n, list(range(100)), num_threads=8))
    assert found == {n: n * n for n in range(100)}


def test_no_items_start_no_thread() -> None:
    assert list(in_threads(lambda n: n, [], num_threads=8)) == []


def test_no_more_than_the_threads_run_at_once() -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def work(_: int) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1

    list(in_threads(work, list(range(40)), num_threads=4))
    assert 1 < most[0] <= 4


def test_an_error_comes_through_and_stops_the_rest() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        if number == 3:
            raise ValueError("the third")
        return number

    with pytest.raises(ValueError, match="the third"):
        list(in_threads(work, list(range(1000)), num_threads=2))
    time.sleep(0.05)
    assert len(begun) < 20


def test_an_error_waits_for_what_is_under_way() -> None:
    ended: list[int] = []
    both = threading.Barrier(2)

    def work(number: int) -> None:
        both.wait(5)
        if number == 0:
            raise ValueError("the first")
        time.sleep(0.2)
        ended.append(number)

    with pytest.raises(ValueError, match="the first"):
        list(in_threads(work, [0, 1], num_threads=2))
    assert ended == [1]


def test_who_stops_asking_is_not_held_up_by_a_hanging_thread() -> None:
    release = threading.Event()

    def work(number: int) -> int:
        if number:
            release.wait(20)
        return number

    results: Iterator[tuple[int, int]] = in_threads(work, [0, 1, 2], num_threads=2)
    assert next(results) == (0, 0)
    started = time.monotonic()
    results.close()  # type: ignore[attr-defined]  # as the end of a loop does
    assert time.monotonic() - started < 1
    release.set()
