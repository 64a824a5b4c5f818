"""What the README says: commands exist with their options, tree and figures are what is there."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from phiray.cli import app
from phiray.config.load import load_config, load_search
from phiray.config.stages import STAGES
from phiray.fetch.books import read_ids

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = {"README.md": README, "CONTRIBUTING.md": (ROOT / "CONTRIBUTING.md").read_text()}
# Any: what bench/demo.py prints.
DEMOS: list[dict[str, Any]] = json.loads((ROOT / "bench/results/demo.json").read_text())["demos"]
REAL: dict[str, Any] = json.loads((ROOT / "bench/results/demo-real.json").read_text())["demos"][0]
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def phiray_lines() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
    return [line.partition(" > ")[0] for line in lines if line.startswith("phiray ")]


def tree_paths() -> Iterator[Path]:
    """Yield each path of the tree; two blanks of indent are one folder down."""
    tree = next(block for block in BLOCKS if "CONTRIBUTING.md " in block)
    folder = Path()
    for line in tree.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            folder = Path(name) if name.endswith("/") and len(line.split()) == 1 else Path()
            yield Path(name)
        else:
            yield folder / name


def help_of(words: list[str]) -> str:
    outcome = CliRunner().invoke(app, [*words, "--help"])
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def verbs_of(words: list[str]) -> list[str]:
    return words[:2] if words[0] in ("data", "tune", "cluster") else words[:1]


def test_readme_shows_every_command() -> None:
    command = typer.main.get_command(app)
    names = set(getattr(command, "commands"))  # noqa: B009  # a group, which its type does not say
    shown = {shlex.split(line)[1] for line in phiray_lines()}
    assert names - shown == {"demo"}  # which `make demo` runs
    assert "make demo" in README


@pytest.mark.parametrize("line", phiray_lines())
def test_readme_commands_exist_with_their_options(line: str) -> None:
    words = shlex.split(line)[1:]
    text = help_of(verbs_of(words))
    for word in words:
        if word.startswith("--"):
            assert f"  {word} " in text or f"  {word}\n" in text, f"{word} is no option"


@pytest.mark.parametrize("line", [line for line in phiray_lines() if " --config tiny" in line])
def test_readme_settings_are_valid(line: str) -> None:
    words = shlex.split(line)
    changes = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
    if words[1] == "tune":
        assert load_search("tiny", words[2], overrides=changes).tune == words[2]
        return
    stage = next(word for word in words if word in STAGES)
    assert load_config("tiny", stage, overrides=changes).stage == stage


def test_readme_options_of_make_demo_exist() -> None:
    found = re.findall(r'ARGS="([^"]*)"', README)
    assert found
    text = help_of(["demo"])
    assert all(f"{word} " in text for line in found for word in line.split() if "--" in word)


def scores_shown() -> list[list[str]]:
    table = README.partition("## What the demo shows")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return rows[1:]


def say_score(demo: dict[str, Any], suite: str, arm: str, metric: str) -> str:
    found = demo["evals"][suite][arm][metric]
    return f"{found['value']:.2f} [{found['ci95'][0]:.2f}, {found['ci95'][1]:.2f}]"


@pytest.mark.parametrize("row", scores_shown(), ids=lambda row: f"{row[1]}-{row[2]}")
def test_readme_scores_are_those_of_the_committed_result(row: list[str]) -> None:
    suite, arm, metric, *shown, beside = row
    by_seed = {demo["seed"]: demo for demo in DEMOS}
    assert shown == [say_score(by_seed[seed], suite, arm, metric) for seed in (0, 1)]
    other = beside.partition(":")[0]
    own = f"{other.partition('@')[0]}@{arm}"  # a row without a run's name is the first run's
    assert other == own or own not in by_seed[0]["evals"][suite]
    assert beside == f"{other}: {say_score(by_seed[0], suite, other, metric)}"


def test_readme_time_and_memory_are_those_of_the_committed_result() -> None:
    minutes = [demo["minutes"] for demo in DEMOS]
    assert f"{min(minutes)} to {max(minutes)} minutes" in README
    assert f"at most {max(demo['peak_memory_gb'] for demo in DEMOS)} GB" in README


def test_readme_figures_of_real_data_are_those_of_the_committed_result() -> None:
    text = " ".join(README.split())
    assert "real samples" in REAL["data"]
    assert f"took {REAL['minutes']} minutes and at most {REAL['peak_memory_gb']} GB" in text
    assert f"swap accuracy {say_score(REAL, 'caption', 'align-standard', 'swap_accuracy')}" in text
    assert round(REAL["evals"]["caption"]["align-standard"]["cider_d"]["value"], 2) == 0
    lm = {name: metrics["bits_per_byte"]["value"] for name, metrics in REAL["evals"]["lm"].items()}
    assert lm["scratch@redpajama"] > lm["unigram@redpajama"]


def test_page_on_planning_names_the_committed_difference() -> None:
    record = json.loads((ROOT / "bench/results/memory.json").read_text())
    text = " ".join((ROOT / "docs/plan.md").read_text().split())
    assert f"at most {record['largest_difference']:.1%} from it".replace("%", " %") in text


def test_page_on_clusters_names_the_committed_seconds() -> None:
    record = json.loads((ROOT / "bench/results/elastic.json").read_text())
    seconds = record["seconds_from_kill_to_first_step"]
    text = " ".join((ROOT / "docs/cluster.md").read_text().split())
    assert f"for {min(seconds)} to {max(seconds)} s (five times" in text
    assert f"median {record['median_seconds']})" in text
    assert record["workers"] == [2, 1] * len(seconds)
    assert len(seconds) == 5
    assert record["median_seconds"] <= 30


def test_page_on_searches_names_the_committed_figures() -> None:
    searches = json.loads((ROOT / "bench/results/search.json").read_text())["searches"]
    found = next(search for search in searches if search["name"] == "tune-projector")
    text = " ".join((ROOT / "docs/tune.md").read_text().split())
    low, high = found["confirmation"]["ci95"]
    assert f"interval from {low:.2f} to +{high:.2f}" in text
    spent = sum(trial["steps"] for trial in found["trials"])
    share = spent / (found["max_steps"] * len(found["trials"]))
    assert f"{share:.0%} of all steps".replace("%", " %") in text


def test_committed_demos_meet_every_bound_and_are_equal_for_a_seed() -> None:
    assert [
        bound["what"] for demo in DEMOS for bound in demo.get("bounds", []) if not bound["met"]
    ] == []
    hashes = [demo["sha256_outside_measured"] for demo in DEMOS if demo["seed"] == 0]
    assert len(hashes) == 2
    assert hashes[0] == hashes[1]


def test_readme_names_the_size_of_the_list_of_books() -> None:
    text = " ".join(README.split())
    assert f"{len(read_ids(None))} English books from a mirror of Project Gutenberg" in text


def test_readme_tree_is_true() -> None:
    missing = [str(path) for path in tree_paths() if not (ROOT / path).exists()]
    assert missing == []


def test_readme_tree_leaves_nothing_out() -> None:
    listed = {str(path) for path in tree_paths()}
    hidden = {"__init__.py", "__main__.py", "py.typed", "__pycache__", "cli.py", "evals"}
    parts = {path.name for path in (ROOT / "phiray").iterdir()} - hidden
    assert sorted(name for name in parts if f"phiray/{name}" not in listed) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_files_that_exist(name: str) -> None:
    names = re.findall(r"`((?:phiray|evals|tests|bench|cluster)/[\w./]+)`", DOCUMENTS[name])
    assert [path for path in names if not (ROOT / path).exists()] == []


def test_readme_names_every_target_of_make_that_it_uses() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)) <= targets
