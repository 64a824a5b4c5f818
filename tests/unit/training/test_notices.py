import time

import pytest

from phiray.training.notices import LAST_CALL_SECONDS, SECONDS_BETWEEN_ASKS, Notice, Notices

NODE_A, NODES_A_B = Notice("node a", None), Notice("nodes a, b", None)


def test_nobody_asks_where_there_is_nobody_to_ask() -> None:
    assert not Notices(None).is_time()
    assert Notices(None).take() is None


def test_notices_are_asked_for_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    found = Notices(lambda: None)
    assert found.is_time()
    found.take()
    assert not found.is_time()
    now += SECONDS_BETWEEN_ASKS
    assert found.is_time()


def test_each_notice_is_taken_once() -> None:
    told = iter([None, NODE_A, NODE_A, None, NODES_A_B, NODES_A_B])
    found = Notices(lambda: next(told))
    taken = [found.take() for _ in range(6)]
    assert taken == [None, "node a", None, None, "nodes a, b", None]


def test_a_notice_is_taken_once_more_just_before_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)
    found = Notices(lambda: Notice("node a", 1060.0))
    assert [found.take(), found.take()] == ["node a", None]
    now = 1060.0 - LAST_CALL_SECONDS - 1
    assert found.take() is None
    now = 1060.0 - LAST_CALL_SECONDS
    assert [found.take(), found.take()] == ["node a", None]


def test_a_notice_that_comes_late_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1059.0)
    found = Notices(lambda: Notice("node a", 1060.0))
    assert [found.take(), found.take()] == ["node a", None]
