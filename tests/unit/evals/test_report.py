"""report.json: its form, and that it is the same twice but for what is measured."""

import errno
import json
import time
from pathlib import Path

import pytest

from phiray.errors import ConfigError, DataError, ExitCode
from phiray.evals.report import write_report
from tests.unit.evals.runs import NUM_IMAGES, write_align_runs, write_lm_runs


def _folders(root: Path) -> list[Path]:
    return [*write_lm_runs(root), *write_align_runs(root)]


def test_write_report_has_the_form_that_is_promised(tmp_path: Path) -> None:
    report = write_report(
        _folders(tmp_path),
        tmp_path / "out" / "report.html",
        notes=["first"],
        measured=lambda: {"seconds": {"data": 3.5}},
    )
    payload = json.loads(report.json.read_text())
    assert set(payload) == {
        "schema",
        "evals",
        "comparisons",
        "data",
        "training",
        "notes",
        "measured",
    }
    assert payload["schema"] == "phiray.report/1"
    metric = payload["evals"]["caption"]["align-standard"]["cider_d"]
    assert set(metric) == {"value", "ci95", "n", "unit", "higher_is_better"}
    assert metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]
    assert metric["n"] == NUM_IMAGES
    assert payload["notes"] == ["first", "How lm is scored.", "How caption is scored."]
    assert payload["measured"]["seconds"] == {"data": 3.5}
    training = payload["training"]["align-scheduled-sampling"]
    assert training["label_tokens"] == 2000
    assert training["steps"] == 20
    assert training["method"]["kind"] == "scheduled-sampling"
    assert training["model"]["language_model"] == "scratch"
    assert "source" not in training
    assert payload["training"]["litgpt"]["source"] == "redpajama"
    assert payload["training"]["litgpt"]["model"] == {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "experts": 0,
        "experts_per_token": 0,
    }
    difference = payload["comparisons"]["caption"]["align-standard vs align-scheduled-sampling"]
    assert difference["label_tokens"] == {"align-standard": 2000, "align-scheduled-sampling": 2000}
    assert difference["first_minus_second"]["cider_d"]["better"] == "align-standard"


def test_write_report_is_equal_in_bytes_but_for_what_is_measured(tmp_path: Path) -> None:
    texts = []
    for name in ("first", "second"):
        report = write_report(
            _folders(tmp_path / name),
            tmp_path / f"{name}.html",
            measured=lambda: {"seconds": time.monotonic()},
        )
        payload = json.loads(report.json.read_text())
        assert str(tmp_path) in json.dumps(payload.pop("measured"))
        texts.append(json.dumps(payload))
    assert texts[0] == texts[1]
    assert str(tmp_path) not in texts[0]


def test_write_report_refuses_runs_without_an_evaluation(tmp_path: Path) -> None:
    folder = write_lm_runs(tmp_path)[0]
    (folder / "evals" / "lm" / "result.json").unlink()
    with pytest.raises(DataError, match="None of the 1 runs was evaluated") as error:
        write_report([folder], tmp_path / "report.html")
    assert error.value.exit_code is ExitCode.MISSING_INPUT


@pytest.mark.parametrize("name", ["report.json", "report.md", "report", ".", ".html", "other.txt"])
def test_write_report_refuses_a_name_that_is_no_page(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"does not end in \.html.*Give e\.g\. --out") as error:
        write_report([tmp_path], tmp_path / name)
    assert error.value.exit_code is ExitCode.USAGE
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["report.html", "report.json", "report.md"])
def test_write_report_refuses_the_place_of_a_folder(tmp_path: Path, name: str) -> None:
    folders = write_lm_runs(tmp_path / "runs")
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match=f"{name} is a folder") as error:
        write_report(folders, tmp_path / "report.html")
    assert error.value.exit_code is ExitCode.USAGE
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "runs"])


@pytest.mark.parametrize("name", ["README.md", "README.json"])
def test_write_report_replaces_no_file_that_is_no_report_s(tmp_path: Path, name: str) -> None:
    folders = write_lm_runs(tmp_path / "runs")
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=f"{name} exists, but no page README.html") as error:
        write_report(folders, tmp_path / "README.html")
    assert error.value.exit_code is ExitCode.USAGE
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [
        (errno.ENOSPC, ExitCode.IO),
        (errno.EACCES, ExitCode.PERMISSION),
        (errno.EROFS, ExitCode.CANNOT_CREATE),
    ],
)
def test_write_report_exits_with_the_code_of_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, exit_code: ExitCode
) -> None:
    folders = write_lm_runs(tmp_path / "runs")

    def fail(_path: Path, _text: str) -> None:
        raise OSError(number, "why")

    monkeypatch.setattr("phiray.evals.report.write_text", fail)
    with pytest.raises(DataError, match=r"cannot be written: why.*set --out") as error:
        write_report(folders, tmp_path / "report.html")
    assert error.value.exit_code is exit_code


def test_write_report_says_that_it_cannot_write(tmp_path: Path) -> None:
    folders = _folders(tmp_path / "runs")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="a file is in its way") as error:
        write_report(folders, tmp_path / "file" / "report.html")
    assert error.value.exit_code is ExitCode.CANNOT_CREATE
