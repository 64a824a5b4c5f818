import os
import subprocess
import sys

import pytest

from phiray.threads import WAIT_POLICY, let_threads_sleep


def test_threads_sleep_where_the_user_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WAIT_POLICY, raising=False)
    let_threads_sleep()
    assert os.environ[WAIT_POLICY] == "PASSIVE"


def test_the_users_own_policy_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT_POLICY, "ACTIVE")
    let_threads_sleep()
    assert os.environ[WAIT_POLICY] == "ACTIVE"


def test_command_line_sets_it_before_torch_is_loaded() -> None:
    code = """
import os, sys
from phiray import cli
cli.app = lambda: print(os.environ["OMP_WAIT_POLICY"], "torch" in sys.modules)
cli.main()
"""
    environment = {name: value for name, value in os.environ.items() if name != WAIT_POLICY}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["PASSIVE", "False"]
