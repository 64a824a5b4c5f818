import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from phiray.data.prefetch import LOOKAHEAD, prefetch_in_order


def test_prefetch_keeps_the_order_of_items() -> None:
    def slow_when_even(item: int) -> int:
        time.sleep(0.01 * (item % 2 == 0))
        return item

    assert list(prefetch_in_order(slow_when_even, iter(range(12)), num_threads=3)) == list(
        range(12)
    )


def test_prefetch_works_in_several_threads_at_once() -> None:
    both = threading.Barrier(2, timeout=10)

    results = list(prefetch_in_order(lambda _: both.wait() >= 0, iter(range(4)), num_threads=2))

    assert results == [True] * 4  # one thread alone would break the barrier


def test_prefetch_raises_an_error_at_its_place() -> None:
    results = prefetch_in_order(lambda item: 10 // item, iter([2, 1, 0, 5]), num_threads=2)

    assert [next(results), next(results)] == [5, 10]
    with pytest.raises(ZeroDivisionError, match="zero"):
        next(results)


def test_prefetch_raises_an_error_of_the_items() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("disk on fire")

    results = prefetch_in_order(lambda item: item, items(), num_threads=2)

    assert next(results) == 1
    with pytest.raises(OSError, match="disk on fire"):
        next(results)


def test_prefetch_does_not_run_far_ahead_of_its_consumer() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in itertools.count():
            taken.append(item)
            yield item

    results = prefetch_in_order(lambda item: item, items(), num_threads=1)
    next(results)
    time.sleep(0.3)
    num_ahead = len(taken)
    results.close()  # type: ignore[attr-defined]  # it is a generator

    assert num_ahead <= 1 + LOOKAHEAD + 2  # queued, one handed out, one waiting for room
    time.sleep(0.3)
    assert len(taken) <= num_ahead + 1
