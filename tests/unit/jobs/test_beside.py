import threading

import pytest

from phiray.jobs.beside import beside


def test_a_function_runs_as_long_as_the_block_and_no_longer() -> None:
    begun, ended = threading.Event(), threading.Event()

    def follow(done: threading.Event) -> None:
        begun.set()
        done.wait()
        ended.set()

    with beside(follow, name="test"):
        assert begun.wait(20)
        assert "phiray-test" in [thread.name for thread in threading.enumerate()]
        assert not ended.is_set()
    assert ended.is_set()
    assert "phiray-test" not in [thread.name for thread in threading.enumerate()]


def test_it_ends_where_the_block_fails() -> None:
    def follow(done: threading.Event) -> None:
        done.wait()

    def fail() -> None:
        with beside(follow, name="test"):
            raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        fail()
    assert "phiray-test" not in [thread.name for thread in threading.enumerate()]
