import os
from pathlib import Path

import pytest

from phiray.errors import ConfigError
from phiray.node import NODE_CACHE, node_cache_folder, num_cores


@pytest.mark.parametrize(
    ("variable", "setting", "folder"),
    [
        ("/node/disk", "/set", "/node/disk"),
        ("/node/disk", None, "/node/disk"),
        ("", "/set", "/set"),
        ("", None, None),
        ("", "~/cache", str(Path("~/cache").expanduser())),
    ],
)
def test_node_cache_is_where_the_node_says_before_what_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, variable: str, setting: str | None, folder: str | None
) -> None:
    monkeypatch.setenv(NODE_CACHE, variable)
    assert node_cache_folder(setting) == (Path(folder) if folder else None)


def test_node_cache_is_no_relative_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NODE_CACHE, "disk")
    with pytest.raises(ConfigError, match="'disk', which is no absolute path"):
        node_cache_folder("/set")


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert num_cores() == 1
