"""What each command passes on, and what it prints."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from phiray.cli import app
from phiray.config.load import load_config
from phiray.config.stages import AlignConfig, ScratchConfig
from phiray.data.check.report import CheckReport
from phiray.errors import ConfigError, ExitCode
from phiray.evals.settings import EvalSettings
from phiray.fetch.run import FetchOptions
from phiray.jobs.cluster.remote import RemoteCommand
from phiray.stages.parts import PreparedData

METRIC = {"value": 0.5, "ci95": [0.25, 0.75], "n": 8, "unit": "share", "higher_is_better": True}


@dataclass
class Calls:
    """Stands in for a function, and remembers how it was called."""

    result: object
    positional: tuple[object, ...] = ()
    named: dict[str, object] = field(default_factory=dict)

    def __call__(self, *positional: object, **named: object) -> object:
        self.positional, self.named = positional, named
        return self.result


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, name: str, result: object) -> Calls:
    """Put a module with one function where the command looks for it, so nothing heavy loads."""
    calls = Calls(result)
    fake = ModuleType(module)
    setattr(fake, name, calls)
    monkeypatch.setitem(sys.modules, module, fake)
    return calls


def run(*arguments: str, code: int = 0) -> str:
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == code, outcome.output
    return outcome.stdout


@dataclass(frozen=True)
class Fetched:
    folder: str = "data/coco"
    files: int = 12
    bytes: int = 2_000_000_000
    fetched_bytes: int = 500_000_000
    licence: str = "Theirs."
    next: str = "phiray data check data"


def test_data_fetch_passes_its_options_on_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls(Fetched())
    monkeypatch.setattr("phiray.fetch.run.fetch_data", calls)
    out = run("data", "fetch", "coco", "--out", "data", "--subset", "9", "--seed", "3", "--verify")
    name, folder, options = calls.positional
    assert (name, folder) == ("coco", Path("data"))
    assert options == FetchOptions(subset=9, seed=3, verify=True)
    assert out == (
        "data/coco: 12 files, 2.0 GB; 500.0 MB fetched now\nTheirs.\n"
        "Go on with: phiray data check data\n"
    )
    calls.result = Fetched(fetched_bytes=0)
    out = run("data", "fetch", "gutenberg", "--out", "data", "--ids", "mine.txt", "--json")
    assert calls.positional[2] == FetchOptions(ids=Path("mine.txt"))
    assert json.loads(out)["fetched_bytes"] == 0


@dataclass(frozen=True)
class Summary:
    steps: int = 30
    loss_nats_per_token: float = 2.5


def test_train_passes_settings_and_resume_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, "phiray.jobs.train", "train_stage", Summary())
    out = run(
        *("train", "align", "--config", "tiny", "--set", "training.max_steps=30"),
        *("--set", "run.name=x", "--workers", "2", "--resume"),
    )
    config = calls.positional[0]
    assert isinstance(config, AlignConfig)
    assert (config.training.max_steps, config.cluster.workers, config.run.name) == (30, 2, "x")
    assert calls.named["resume"] is True
    assert out == "30 steps, loss 2.5000 nats per token\nruns/x\n"


def test_plan_prints_tables_and_what_was_assumed() -> None:
    out = run("plan", "align", "--config", "phi-2", "--device", "H100", "--workers", "2")
    assert "2,876,057,856" in out
    assert "16 on each of 2 workers" in out
    assert "FSDP2 (not yet)" in out
    assert "assumed: language_model models/phi-2 is not there yet" in out


def test_plan_prints_json_for_scripts() -> None:
    out = run("plan", "scratch", "--config", "tiny", "--flops-per-second", "1e9", "--json")
    found = json.loads(out)
    assert found["pace"]["basis"] == "as given"
    assert found["memory"]["ddp"]["total"] > 0


def test_plan_takes_no_speed_beyond_all_bounds() -> None:
    run("plan", "scratch", "--config", "tiny", "--flops-per-second", "inf", code=2)


def test_plan_names_presets_that_can_stand_in() -> None:
    arguments = ("plan", "align", "--config", "phi-2", "--stand-in", "x")
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code != 0
    assert "'x' is not a preset" in str(outcome.exception)


def test_cluster_check_prints_findings_by_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("cluster_name: x\nprovider: {type: aws}\nmax_worker: 3\n")
    out = run("cluster", "check", str(path), code=78)
    assert f"{path}:3: max_worker: the key 'max_worker' is not known here." in out
    found = json.loads(run("cluster", "check", str(path), "--json", code=78))
    assert {"line", "place", "problem"} == set(found[0])


def test_train_prints_json_for_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "phiray.jobs.train", "train_stage", Summary())
    out = run("train", "align", "--config", "tiny", "--json")
    assert json.loads(out) == {"steps": 30, "loss_nats_per_token": 2.5}


@pytest.mark.parametrize("has_begun", [True, False])
def test_train_goes_on_with_a_run_that_is_there_where_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_begun: bool
) -> None:
    calls = stand_in(monkeypatch, "phiray.jobs.train", "train_stage", Summary())
    monkeypatch.setenv("HOME", str(tmp_path))
    if has_begun:
        (tmp_path / "runs/align").mkdir(parents=True)
        (tmp_path / "runs/align/config.yaml").write_text("stage: align\n")
    place = ("--set", "run.output_dir=~/runs")
    run("train", "align", "--config", "tiny", *place, "--auto-resume")
    assert calls.named["resume"] is has_begun


HEAD = ("--address", "http://127.0.0.1:8265")
PLACES = [f"--set={key}=/s" for key in ("run.output_dir", "data.root")]
BASE_PLACES = [place.replace("=", "=base.", 1) for place in PLACES]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "scratch", "--config", "tiny", *PLACES], ["train", "scratch"]),
        (["tune", "moe", "--config", "tiny", PLACES[0], *BASE_PLACES], ["tune", "moe"]),
        (
            ["eval", "lm", "/s/run", "--set", "seed=3", "--data", "/d"],
            ["eval", "lm", "/s/run", "--data", "/d", "--set", "seed=3"],
        ),
    ],
)
def test_a_command_with_an_address_is_run_there_and_ends_as_it_did_there(
    monkeypatch: pytest.MonkeyPatch, words: list[str], expected: list[str]
) -> None:
    calls = Calls(75)
    monkeypatch.setattr("phiray.jobs.cluster.remote.submit", calls)
    run(*words, *HEAD, code=75)
    (command,) = calls.positional
    assert isinstance(command, RemoteCommand)
    assert command.words == expected
    assert calls.named["address"] == HEAD[1]
    outcome = CliRunner().invoke(app, [*words, *HEAD, "--json"])
    assert isinstance(outcome.exception, ConfigError)
    assert outcome.exception.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("words", "module", "name"),
    [
        (["train", "scratch", "--config", "tiny"], "phiray.jobs.train", "train_stage"),
        (["tune", "moe", "--config", "tiny"], "phiray.jobs.search.run", "run_search"),
    ],
)
def test_a_job_of_a_cluster_uses_its_workers(
    monkeypatch: pytest.MonkeyPatch, words: list[str], module: str, name: str
) -> None:
    calls = stand_in(monkeypatch, module, name, Summary())
    run(*words, "--address", "auto", "--json")
    assert calls.named["attach"] is True
    run(*words, "--json")
    assert calls.named["attach"] is False


def test_a_job_of_a_cluster_scores_on_one_of_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Result("caption", "align", {}, [])
    calls = stand_in(monkeypatch, "phiray.jobs.cluster.evaluation", "evaluate_on_cluster", result)
    stand_in(monkeypatch, "phiray.evals.results", "arms_to_json", {"align": {"rouge_l": METRIC}})
    run("eval", "caption", "runs/align", "--address", "auto")
    assert calls.positional == ("caption", Path("runs/align"))


@dataclass(frozen=True)
class DemoSummary:
    report_html: Path
    report_json: Path
    seconds: dict[str, float]
    peak_memory_bytes: int
    resumed: bool


@pytest.mark.parametrize(
    ("resumed", "line"),
    [
        (False, "1.5 minutes, at most 2.0 GB of memory"),
        (
            True,
            "1.5 minutes for this attempt alone (it went on with an earlier one), at most 2.0 GB",
        ),
    ],
)
def test_demo_prints_a_table_and_the_paths_of_the_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resumed: bool, line: str
) -> None:
    report = tmp_path / "report.json"
    report.write_text(
        json.dumps({"evals": {"lm": {"scratch@gutenberg": {"bits_per_byte": METRIC}}}})
    )
    summary = DemoSummary(
        tmp_path / "report.html", report, {"data": 30.0, "total": 90.0}, 2 * 10**9, resumed
    )
    calls = stand_in(monkeypatch, "phiray.chain", "run_demo", summary)
    out = run("demo", "--out", str(tmp_path), "--seed", "3", "--workers", "2")
    assert calls.positional == (tmp_path,)
    assert {name: calls.named[name] for name in ("data", "seed", "workers")} == {
        "data": None,
        "seed": 3,
        "workers": 2,
    }
    assert "scratch@gutenberg" in out
    assert "[0.25, 0.75]" in out
    assert line in out
    assert out.splitlines()[-2:] == [str(tmp_path / "report.html"), str(report)]


@dataclass(frozen=True)
class Result:
    suite: str
    run: str
    arms: dict[str, object]
    notes: list[str]


@pytest.mark.parametrize("as_json", [True, False])
def test_eval_prints_every_metric(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    result = Result("caption", "align", {}, ["blind rows went through the same code"])
    calls = stand_in(monkeypatch, "phiray.evals.run", "evaluate_checkpoint", result)
    stand_in(monkeypatch, "phiray.evals.results", "arms_to_json", {"align": {"rouge_l": METRIC}})
    changes = ("--set", "max_images=5000", "--set", "seed=3")
    out = run(
        "eval", "caption", "runs/align", "--data", "s3://b/d", *changes, *["--json"] * as_json
    )
    assert calls.positional == ("caption", Path("runs/align"))
    assert calls.named["root"] == "s3://b/d"
    assert calls.named["settings"] == EvalSettings(max_images=5000, seed=3)
    if as_json:
        assert json.loads(out)["arms"]["align"]["rouge_l"] == METRIC
    else:
        assert "rouge_l" in out
        assert "blind rows went through the same code" in out


def found_report(*, num_bad: int) -> CheckReport:
    report = CheckReport(counts={"images": 100}, totals={"images": 100})
    for number in range(num_bad):
        report.find("broken file: empty", f"{number}.jpg", of="images")
    return report


@pytest.mark.parametrize(
    ("num_bad", "words", "code"),
    [
        (0, [], 0),
        (1, [], 0),
        (2, [], 65),
        (2, ["--max-bad-fraction", "0.02"], 0),
        (1, ["--max-bad-fraction", "0"], 65),
    ],
)
def test_data_check_ends_with_65_above_the_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, num_bad: int, words: list[str], code: int
) -> None:
    report = found_report(num_bad=num_bad)
    calls = stand_in(monkeypatch, "phiray.data.check.run", "check_data", report)
    out = run("data", "check", str(tmp_path), *words, code=code)
    assert ("0.jpg" in out) == (num_bad > 0)
    assert ("of the images are at fault" in out) == (code == 65)
    assert calls.positional == (tmp_path,)
    assert calls.named["is_partial"] is False
    out = run("data", "check", str(tmp_path), *words, "--partial", "--json", code=code)
    assert json.loads(out)["is_fit"] == (code == 0)
    assert calls.named["is_partial"] is True


@pytest.mark.parametrize(("own_share", "code"), [("0.02", 0), ("0.01", 65)])
def test_data_check_of_a_file_takes_its_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_share: str, code: int
) -> None:
    stand_in(monkeypatch, "phiray.data.check.run", "check_data", found_report(num_bad=2))
    path = tmp_path / "run.yaml"
    path.write_text(f"stage: align\ndata: {{max_bad_fraction: {own_share}}}\n")
    run("data", "check", str(path), code=code)


def test_data_check_of_a_file_looks_at_the_data_of_its_stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = stand_in(monkeypatch, "phiray.data.check.run", "check_data", found_report(num_bad=0))
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "run.yaml"
    path.write_text("stage: align\ndata: {root: ~/elsewhere}\n")
    run("data", "check", str(path))
    root = str(tmp_path / "elsewhere")
    assert calls.positional == (load_config(str(path)).data.model_copy(update={"root": root}),)


def test_data_prepare_prints_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = PreparedData("f", "q", {"rows": 12})
    prepare = stand_in(monkeypatch, "phiray.jobs.features", "prepare_here", data)
    assert json.loads(run("data", "prepare", "scratch", "--config", "tiny", "--json")) == {
        "rows": 12
    }
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "12" in run(
        *("data", "prepare", "scratch", "--config", "tiny", "--set", "data.root=~/data")
    )
    (config,) = prepare.positional
    assert isinstance(config, ScratchConfig)
    assert config.data.root == str(tmp_path / "data")


def test_data_prepare_in_a_job_asks_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    data = PreparedData("f", "q", {"rows": 12})
    calls = stand_in(monkeypatch, "phiray.jobs.prepare", "prepare_stage", data)
    out = run("data", "prepare", "scratch", "--config", "tiny", "--address", "auto", "--json")
    assert json.loads(out) == {"rows": 12}
    assert calls.named["attach"] is True


def test_data_prepare_is_sent_to_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, "phiray.jobs.cluster.remote", "submit", 75)
    command = stand_in(monkeypatch, "phiray.jobs.cluster.commands", "prepare_command", "sent")
    words = ("data", "prepare", "scratch", "--config", "tiny", "--address", "http://head")
    run(*words, code=75)
    assert calls.positional == ("sent",)
    assert calls.named["address"] == "http://head"
    assert command.positional == (load_config("tiny", "scratch"),)
    run(*words, "--json", code=1)


@dataclass
class Comparison:
    def to_json(self) -> dict[str, object]:
        return {"evals": {}}

    def to_text(self) -> str:
        return "a table"


def test_compare_takes_any_number_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, "phiray.evals.compare", "compare_runs", Comparison())
    assert run("compare", "a", "b", "c") == "a table\n"
    assert calls.positional == ([Path("a"), Path("b"), Path("c")],)
    assert json.loads(run("compare", "a", "b", "--json")) == {"evals": {}}


@dataclass(frozen=True)
class Written:
    html: Path = Path("x.html")
    markdown: Path = Path("x.md")
    json: Path = Path("x.json")


def test_report_prints_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, "phiray.evals.report", "write_report", Written())
    assert run("report", "a", "b", "--out", "x.html") == "x.html\nx.md\nx.json\n"
    assert calls.positional == ([Path("a"), Path("b")], Path("x.html"))


def test_generate_prints_the_answer_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, "phiray.jobs.answer", "answer", "a [red] square")
    assert run("generate", "runs/x", "What?", "--image", "a.jpg") == "a [red] square\n"
    assert calls.positional == (Path("runs/x"), "What?")
    assert callable(calls.named.pop("progress"))
    assert calls.named == {"image": Path("a.jpg"), "max_new_tokens": 64}
    assert json.loads(run("generate", "runs/x", "--json")) == {"answer": "a [red] square"}


@dataclass(frozen=True)
class Check:
    name: str
    found: str
    mend: str | None


@pytest.mark.parametrize(("mend", "code"), [(None, 0), ("chmod 600 x", 78)])
def test_doctor_ends_with_78_if_anything_is_to_be_mended(
    monkeypatch: pytest.MonkeyPatch, mend: str | None, code: int
) -> None:
    stand_in(monkeypatch, "phiray.jobs.doctor", "check_machine", [Check("token", "x", mend)])
    assert (mend or "fine") in run("doctor", code=code)
    out = run("doctor", "--json", code=code)
    assert json.loads(out) == [{"name": "token", "found": "x", "mend": mend}]


def test_config_prints_settings_that_can_be_read_back(tmp_path: Path) -> None:
    path = tmp_path / "align.yaml"
    path.write_text(run("config", "align", "--preset", "phi-2", "--set", "training.max_steps=99"))
    expected = load_config("phi-2", "align", overrides=["training.max_steps=99"])
    assert load_config(str(path), "align") == expected
