"""What `--help` shows, and what it must not load."""

import json
import re
import subprocess
import sys

import pytest

HEAVY = ["torch", "ray", "transformers", "open_clip", "litgpt", "rich", "numpy", "httpx"]
COMMANDS = [
    *["demo", "doctor", "plan", "train", "jobs", "logs", "stop", "eval", "compare", "report"],
    *["generate", "config", "data", "tune", "cluster"],
]


def run_help(*arguments: str) -> tuple[str, list[str]]:
    """Return the help, and which of the heavy modules it loaded."""
    script = (
        "import json, sys\n"
        "from phiray.cli import main\n"
        f"sys.argv = ['phiray', *{list(arguments)!r}]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print('LOADED', json.dumps([m for m in {HEAVY!r} if m in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text, _, loaded = done.stdout.rpartition("LOADED ")
    return text, json.loads(loaded)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *[[command, "--help"] for command in COMMANDS],
        ["data", "check", "--help"],
        ["data", "fetch", "--help"],
        ["tune", "moe", "--help"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    text, loaded = run_help(*arguments)
    assert text.startswith("Usage: ")
    assert loaded == []


def test_help_lists_the_commands_that_work_and_no_others() -> None:
    text, _ = run_help("--help")
    listed = re.findall(r"^  ([a-z]+)  +[A-Z]", text.partition("Commands:")[2], re.MULTILINE)
    assert listed == COMMANDS
    assert "..." not in text.partition("Commands:")[2]  # each says its piece in one line


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["demo"], {"--out", "--data", "--seed", "--workers", "--json"}),
        (["doctor"], {"--json"}),
        (
            ["plan"],
            {
                *("--config", "--set", "--workers", "--device", "--devices", "--mfu"),
                *("--flops-per-second", "--longest-row", "--stand-in", "--json"),
            },
        ),
        (
            ["train"],
            {
                *("--config", "--set", "--workers", "--resume", "--auto-resume", "--address"),
                "--json",
            },
        ),
        (["cluster", "check"], {"--json"}),
        (["jobs"], {"--address", "--json"}),
        (["logs"], {"--address"}),
        (["stop"], {"--address"}),
        (["eval"], {"--data", "--set", "--address", "--json"}),
        (["compare"], {"--json"}),
        (["report"], {"--out"}),
        (["generate"], {"--image", "--max-new-tokens", "--json"}),
        (["config"], {"--preset", "--set"}),
        (["data", "fetch"], {"--out", "--subset", "--seed", "--ids", "--verify", "--json"}),
        (["data", "check"], {"--max-bad-fraction", "--partial", "--json"}),
        (["data", "prepare"], {"--config", "--set", "--address", "--json"}),
        (["tune", "projector"], {"--config", "--set", "--address", "--json"}),
        (["tune", "moe"], {"--config", "--set", "--address", "--json"}),
        (["tune", "dashboard"], {"--port"}),
    ],
)
def test_options_of_a_command_stay_what_scripts_use(command: list[str], options: set[str]) -> None:
    text, _ = run_help(*command, "--help")
    found = set(re.findall(r"^  (--[a-z-]+)", text.partition("Options:")[2], re.MULTILINE))
    assert found - {"--help"} == options
