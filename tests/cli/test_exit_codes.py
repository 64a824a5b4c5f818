"""How the process ends: a code for each kind of fault, and one short paragraph."""

import errno
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from phiray import cli
from phiray.errors import DataError, ExitCode


def run_phiray(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "phiray", *arguments], capture_output=True, text=True
    )


@pytest.fixture
def restored_signal() -> object:
    """Give both signals back after `main` took them, and the filters of warnings."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with warnings.catch_warnings():
        yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["trian"], 2, "Did you mean 'train'?"),
        (["train", "alin", "--config", "tiny"], 2, "'alin' is not a stage."),
        (["train", "align"], 2, "Missing option '--config'"),
        (["train", "align", "--config", "tiny", "--workers", "0"], 2, "--workers"),
        (["train", "align", "--config", "tiny", "--set", "a"], 2, "is no change of a setting"),
        (["train", "align", "--config", "tyny"], 66, "tyny does not exist."),
        (["train", "align", "--config", "."], 78, "which is a folder."),
        (
            ["train", "align", "--config", "tiny", "--set", "training.learning_rat=1"],
            78,
            "Did you mean training.learning_rate?",
        ),
        (
            ["train", "align", "--config", "tiny", "--set", "training.max_steps=ten"],
            78,
            'training.max_steps is "ten". It must be a whole number of at least 1.',
        ),
        (["config", "align", "--preset", "tny"], 2, "Did you mean tiny?"),
        (["eval", "captions", "runs/x"], 2, "Did you mean caption?"),
        (
            ["eval", "caption", "runs/x", "--set", "max_images=1"],
            78,
            "--set max_images=1: max_images is 1. It must be a whole number of at least 2.",
        ),
        (["data", "check", "no-such-folder"], 66, "no-such-folder does not exist."),
        (["data", "fetch", "coca", "--out", "x"], 2, "Did you mean coco?"),
        (["data", "fetch", "coco"], 2, "Missing option '--out'"),
        (["data", "fetch", "coco", "--out", "x", "--subset", "0"], 2, "--subset"),
        (["data", "prepare", "align", "--config", "phi2"], 66, "Did you mean phi-2?"),
    ],
)
def test_a_mistake_ends_in_its_code_and_one_short_message(
    arguments: list[str], code: int, message: str
) -> None:
    done = run_phiray(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert len(done.stderr) < 500


def fail_with(error: Exception) -> object:
    def app() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("[bold]x[/bold] [/]"), 65, "error: [bold]x[/bold] [/]\n"),
        (DataError("x", exit_code=ExitCode.MISSING_INPUT), 66, "error: x\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/a"), 74, "error: /a: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "/a"), 73, "error: /a: Read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), 77, "error: /a: Permission"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/a"), 66, "error: /a: File name too"),
    ],
)
def test_main_tells_a_users_fault_in_one_paragraph(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    restored_signal: object,
    error: Exception,
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(cli, "app", fail_with(error))
    with pytest.raises(SystemExit, match=str(code)) as caught:
        cli.main()
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("error", [ValueError("a bug"), FileNotFoundError(errno.ENOENT, "a bug")])
def test_main_lets_a_bug_keep_its_traceback(
    monkeypatch: pytest.MonkeyPatch, restored_signal: object, error: Exception
) -> None:
    monkeypatch.setattr(cli, "app", fail_with(error))
    with pytest.raises(type(error), match="a bug"):
        cli.main()


def signal_when_ready(script: str, number: signal.Signals) -> tuple[int, str]:
    """Run a script until it prints `ready`, send it a signal; return its code and errors."""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    return process.returncode, errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_with_its_code_and_runs_clean_up(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    cleaned = tmp_path / "cleaned"
    script = (
        "import pathlib, sys, time\n"
        "from phiray import cli\n"
        "import phiray.config.load\n"
        "def wait(*_, **__):\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        f"        pathlib.Path({str(cleaned)!r}).touch()\n"
        "phiray.config.load.load_config = wait\n"
        "sys.argv = ['phiray', 'config', 'align']\n"
        "cli.main()\n"
    )
    found, errors = signal_when_ready(script, number)
    assert found == code
    assert "Traceback" not in errors
    assert cleaned.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_meets_the_loading_of_a_module_is_not_lost(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A module of C code may swallow what a handler raises; this one does."""
    (tmp_path / "deaf.py").write_text(
        "import time\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    time.sleep(60)\n"
        "except BaseException:\n"
        "    pass\n"
    )
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from phiray import cli\n"
        "def app():\n"
        "    import deaf\n"
        "cli.app = app\n"
        "cli.main()\n"
    )
    found, errors = signal_when_ready(script, number)
    assert found == code
    assert errors == "stopped while loading; nothing was lost\n"
