import os
import subprocess
import sys

import pytest

from phiray.threads import SPIN_COUNT, WAIT_POLICY, let_threads_sleep


def test_threads_wait_briefly_and_sleep_where_the_user_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (WAIT_POLICY, SPIN_COUNT):
        monkeypatch.setenv(name, "")  # so that monkeypatch takes away what is set below
        monkeypatch.delenv(name)
    let_threads_sleep()
    assert os.environ[WAIT_POLICY] == "PASSIVE"
    assert os.environ[SPIN_COUNT] == "1000"


@pytest.mark.parametrize(
    ("given", "value", "other"),
    [(WAIT_POLICY, "ACTIVE", SPIN_COUNT), (SPIN_COUNT, "7", WAIT_POLICY)],
)
def test_the_users_own_setting_stays_alone(
    monkeypatch: pytest.MonkeyPatch, given: str, value: str, other: str
) -> None:
    monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(given, value)
    let_threads_sleep()
    assert os.environ[given] == value
    assert other not in os.environ


def test_command_line_sets_it_before_torch_is_loaded() -> None:
    code = """
import os, sys
from phiray import cli
cli.app = lambda: print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
cli.main()
"""
    unset = (WAIT_POLICY, SPIN_COUNT)
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["PASSIVE", "False"]
