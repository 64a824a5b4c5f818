"""The command line: parses, calls, prints.

Source: exit codes follow BSD sysexits.h (`phiray/errors.py`).
Limits: every import of weight is inside the command that needs it, so that `--help` stays fast.
"""

import errno
import json
import os
import signal
import sys
import threading
import warnings
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from phiray.errors import ConfigError, ExitCode, PhirayError, exit_code_of
from phiray.threads import let_threads_sleep

SUITES = ("lm", "caption", "instruct")

MAX_SEED = 2**63 - 1
"""torch takes no larger one."""

MAX_FLOPS = 1e21
"""A thousand times what the largest computers reach."""

app = typer.Typer(
    name="phiray",
    help="Build a Phi-2 vision-language model from nothing, and say how good it is.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help is twice as fast, and reads well in a pipe
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Fetch data, look at it, and prepare it.", no_args_is_help=True)
app.add_typer(data_app, name="data")
tune_app = typer.Typer(help="Search settings with Ray Tune.", no_args_is_help=True)
app.add_typer(tune_app, name="tune")

cluster_app = typer.Typer(help="Look at cluster files.", no_args_is_help=True)
app.add_typer(cluster_app, name="cluster")

StageArgument = Annotated[
    str, typer.Argument(metavar="STAGE", help="scratch, litgpt, align or instruct.")
]
ConfigOption = Annotated[
    str, typer.Option("--config", help="A YAML file, or a preset's name: tiny, phi-2.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting. May be given often."),
]
WorkersOption = Annotated[
    str | None,
    typer.Option(metavar="N|MIN:MAX", help="Training processes; MIN:MAX makes the run elastic."),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="Submit it to the cluster with this dashboard; `auto` in its jobs.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo.")] = Path("phiray-demo"),
    data: Annotated[
        Path | None, typer.Option(help="Folder with real samples, in place of the built-in data.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of everything.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Training processes.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run the whole chain, from data to report.

    Data, four stages with both methods, evaluation, report. An interrupted demo goes on.
    """
    from phiray.terminal import build_display

    with build_display() as display:
        from phiray.chain import run_demo

        summary = run_demo(out, data=data, seed=seed, workers=workers, display=display)
    if as_json:
        _print_json(asdict(summary))
        return
    from phiray.tables import headline_table

    for suite, arms in json.loads(summary.report_json.read_text())["evals"].items():
        _print_table(headline_table(suite, arms))
    alone = " for this attempt alone (it went on with an earlier one)" if summary.resumed else ""
    minutes, gigabytes = summary.seconds["total"] / 60, summary.peak_memory_bytes / 1e9
    print(f"{minutes:.1f} minutes{alone}, at most {gigabytes:.1f} GB of memory")
    print(f"{summary.report_html}\n{summary.report_json}")


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Look at this machine, and say what to mend.

    Exits with 78 if anything is to be mended.
    """
    from phiray.terminal import build_display

    with build_display():
        from phiray.jobs.doctor import check_machine
    checks = check_machine(Path.cwd())
    if as_json:
        _print_json([asdict(check) for check in checks])
    else:
        from phiray.tables import plain_table

        rows = [(check.name, check.found, check.mend or "fine") for check in checks]
        _print_table(plain_table("", ["what", "found", "mend"], rows))
    if any(check.mend for check in checks):
        raise typer.Exit(ExitCode.BAD_CONFIG)


@data_app.command("fetch")
def fetch_data_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="coco, instruct, gutenberg or redpajama.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for all data sets.")],
    subset: Annotated[
        int | None,
        typer.Option(min=1, help="Of coco: so many training images, in place of the 20 GB of all."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Chooses the subset.")] = 0,
    ids: Annotated[
        Path | None, typer.Option(help="Of gutenberg: a list of book numbers of your own.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash what is there, and fetch again what is damaged.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Download a public data set; the same line goes on.

    What is whole is not fetched again. Downloads are checked by size, and by sha256 where one is
    known.
    """
    from phiray.fetch.sources import NAMES

    _check_word(name, NAMES, kind="data set")
    from phiray.terminal import build_display

    with build_display() as display:
        from phiray.fetch.run import FetchOptions, fetch_data

        options = FetchOptions(subset=subset, seed=seed, ids=ids, verify=verify)
        summary = fetch_data(name, out, options, progress=display.progress, note=display.note)
    if as_json:
        _print_json(asdict(summary))
        return
    from phiray.fetch.files import say_bytes

    now = (
        f"{say_bytes(summary.fetched_bytes)} fetched now"
        if summary.fetched_bytes
        else "all was there"
    )
    print(f"{summary.folder}: {summary.files} files, {say_bytes(summary.bytes)}; {now}")
    print(f"{summary.licence}\nGo on with: {summary.next}")


@data_app.command("check")
def check_data_command(
    target: Annotated[
        str, typer.Argument(metavar="CONFIG|DIR", help="A YAML file, or a folder with data sets.")
    ],
    max_bad_fraction: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share at fault that is let pass; that of CONFIG, or 0.01."
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Only a part was downloaded: no image is missing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Count rows, missing and broken files, leaks.

    Looks for copies, and for pictures and texts on both sides of the split as well. Exits with 65
    if there is a leak, or a larger share at fault than may be.
    """
    if not Path(target).exists():
        raise ConfigError(
            f"{target} does not exist. It must be a YAML file of settings, or a folder with data "
            "sets.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    from phiray.terminal import build_display

    with build_display() as display:
        from phiray.config.load import load_config
        from phiray.data.check.report import MAX_BAD_FRACTION
        from phiray.data.check.run import check_data
        from phiray.jobs.paths import with_absolute_paths

        path = Path(target)
        checked = path if path.is_dir() else with_absolute_paths(load_config(target)).data
        allowed = MAX_BAD_FRACTION if isinstance(checked, Path) else checked.max_bad_fraction
        if max_bad_fraction is not None:
            allowed = max_bad_fraction
        report = check_data(checked, is_partial=partial, progress=display.progress)
    verdict = report.verdict(allowed)
    if as_json:
        _print_json(report.to_json(allowed))
    else:
        from phiray.tables import plain_table

        _print_table(plain_table("", ["what", "count", "example"], report.rows()))
        print("\n".join(verdict) or f"fit: no leak, and at most {allowed:.2%} at fault")
    if verdict:
        raise typer.Exit(ExitCode.BAD_DATA)


@data_app.command("prepare")
def prepare_data_command(
    stage: StageArgument,
    config: ConfigOption,
    changes: SetOption = None,
    address: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prepare a stage's data, as its training would first.

    Text is tokenised; with data.feature_cache, what CLIP makes of each image is computed. The same
    command goes on with what was cut off.
    """
    from phiray.config.load import load_config

    settings = load_config(config, stage, overrides=changes or [])
    from phiray.terminal import build_display

    if address is not None and address != "auto":
        _refuse_json(as_json)
        with build_display() as display:
            from phiray.jobs.cluster.commands import prepare_command
            from phiray.jobs.cluster.remote import submit

            code = submit(prepare_command(settings), address=address, display=display)
        raise typer.Exit(code)
    with build_display() as display:
        try:
            from phiray.jobs.paths import with_absolute_paths

            settings = with_absolute_paths(settings)
            if address == "auto":
                from phiray.jobs.prepare import prepare_stage

                prepared = prepare_stage(
                    settings, attach=True, progress=display.progress, note=display.note
                )
            else:
                from phiray.jobs.features import prepare_here

                prepared = prepare_here(settings, progress=display.progress, note=display.note)
            counts = prepared.counts
        except (KeyboardInterrupt, SystemExit):
            display.note("stopped; the same command goes on with what is missing")
            raise
    if as_json:
        _print_json(counts)
        return
    from phiray.tables import plain_table

    _print_table(plain_table("", ["what", "count"], counts.items()))


@app.command("plan")
def plan_stage(
    stage: StageArgument,
    config: ConfigOption,
    changes: SetOption = None,
    workers: WorkersOption = None,
    device: Annotated[
        str | None, typer.Option(help="A GPU of the table, such as H100: gives time and cost.")
    ] = None,
    devices: Annotated[
        Path | None, typer.Option(help="A table of GPUs and prices of your own, as YAML.")
    ] = None,
    mfu: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Share of the peak that is reached.")
    ] = None,
    flops_per_second: Annotated[
        float | None,
        typer.Option(min=1, max=MAX_FLOPS, help="What one worker reaches, if it was measured."),
    ] = None,
    longest_row: Annotated[
        int | None, typer.Option(min=8, help="Tokens of the longest row with an image.")
    ] = None,
    stand_in: Annotated[
        str | None,
        typer.Option(help="The preset whose models stand in for those that are not there yet."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a stage takes, before anything runs.

    Parameters, memory, FLOPs, time, cost, and the cheapest GPUs that fit. Nothing is made or run.
    """
    from phiray.config.load import load_config
    from phiray.config.presets import PRESETS
    from phiray.planning.devices import read_devices
    from phiray.planning.plan import PlanOptions, build_plan

    settings = load_config(config, stage, overrides=changes or [], workers=workers)
    preset = stand_in or (config if config in PRESETS else "phi-2")
    _check_word(preset, PRESETS, kind="preset")
    options = PlanOptions(
        stand_in=preset,
        device=device,
        mfu=mfu,
        flops_per_second=flops_per_second,
        longest_row=longest_row,
    )
    plan = build_plan(settings, options, devices=read_devices(devices))
    if as_json:
        _print_json(plan.to_json())
        return
    from phiray.planning.show import memory_header, memory_rows, summary_rows
    from phiray.tables import plain_table

    _print_table(plain_table(f"plan of {stage}", ["what", "how much"], summary_rows(plan)))
    _print_table(plain_table("", memory_header(plan), memory_rows(plan)))
    print("\n".join(f"assumed: {text}" for text in plan.assumptions))


@app.command()
def train(
    stage: StageArgument,
    config: ConfigOption,
    changes: SetOption = None,
    workers: WorkersOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's newest checkpoint.")
    ] = False,
    auto_resume: Annotated[
        bool, typer.Option("--auto-resume", help="Go on with the run if it is there, else start.")
    ] = False,
    address: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one stage, here or on a cluster."""
    from phiray.config.load import load_config

    settings = load_config(config, stage, overrides=changes or [], workers=workers)
    from phiray.terminal import build_display

    if address is not None and address != "auto":
        _refuse_json(as_json)
        with build_display() as display:
            from phiray.jobs.cluster.commands import train_command
            from phiray.jobs.cluster.remote import submit

            command = train_command(settings, resume=resume or auto_resume)
            code = submit(command, address=address, display=display)
        raise typer.Exit(code)
    with build_display() as display:
        from phiray.jobs.paths import with_absolute_paths
        from phiray.jobs.run_folder import has_begun
        from phiray.jobs.train import train_stage

        attach = address == "auto"
        resume = resume or (auto_resume and has_begun(with_absolute_paths(settings)))
        summary = train_stage(settings, resume=resume, display=display, attach=attach)
    if as_json:
        _print_json(asdict(summary))
        return
    print(f"{summary.steps} steps, loss {summary.loss_nats_per_token:.4f} nats per token")
    print(Path(settings.run.output_dir) / settings.run.name)


AddressOption = Annotated[
    str, typer.Option("--address", metavar="URL", help="Of the cluster's dashboard.")
]
RunArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Of a run, a search or an evaluation.")
]


@app.command("jobs")
def list_jobs(address: AddressOption, as_json: JsonOption = False) -> None:
    """List the jobs of phiray on a cluster."""
    from phiray.terminal import build_display

    with build_display():
        from phiray.jobs.cluster.remote import list_jobs as list_remote_jobs

        jobs = list_remote_jobs(address)
    if as_json:
        _print_json([asdict(job) for job in jobs])
        return
    from phiray.tables import plain_table

    rows = [(job.name, job.submission_id, job.status, job.command) for job in jobs]
    _print_table(plain_table("", ["name", "job", "status", "command"], rows))


@app.command("logs")
def follow_logs(run: RunArgument, address: AddressOption) -> None:
    """Show what a job on a cluster prints, until it ends."""
    from phiray.terminal import build_display

    with build_display() as display:
        from phiray.jobs.cluster.remote import follow

        code = follow(run, address=address, display=display)
    raise typer.Exit(code)


@app.command("stop")
def stop_run(run: RunArgument, address: AddressOption) -> None:
    """Stop a job on a cluster; a run or search stays resumable."""
    from phiray.terminal import build_display

    with build_display() as display:
        from phiray.jobs.cluster.remote import stop

        is_stopped = stop(run, address=address)
        display.note(f"{run}: {'stopping' if is_stopped else 'had ended already'}")


@tune_app.command("projector")
def tune_projector(
    config: ConfigOption,
    changes: SetOption = None,
    address: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the projector of `align`.

    The same command goes on with a search that was cut off.
    """
    _search("projector", config, changes, address=address, as_json=as_json)


@tune_app.command("moe")
def tune_moe(
    config: ConfigOption,
    changes: SetOption = None,
    address: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the mixture of experts of `scratch`.

    The same command goes on with a search that was cut off.
    """
    _search("moe", config, changes, address=address, as_json=as_json)


@tune_app.command("dashboard")
def tune_dashboard(
    search: Annotated[Path, typer.Argument(help="The folder of a search.")],
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on; a free one if none.")
    ] = None,
) -> None:
    """Show a search's curves in TensorBoard.

    Serves until Ctrl-C, to this machine alone.
    """
    from phiray.terminal import build_display

    with build_display() as display:
        from phiray.jobs.search.dashboard import start_dashboard

        board = start_dashboard(search, port=port)
        display.note(f"TensorBoard: {board.url} (Ctrl-C ends it)")
        threading.Event().wait()


@cluster_app.command("check")
def check_cluster(
    file: Annotated[Path, typer.Argument(help="For `ray up`, or a RayCluster or RayJob.")],
    as_json: JsonOption = False,
) -> None:
    """Validate a cluster file offline.

    Exits with 78 if there is anything to be mended.
    """
    from phiray.clusters.check import check_cluster_file

    findings = check_cluster_file(file)
    if as_json:
        _print_json([asdict(found) for found in findings])
    else:
        for found in findings:
            print(f"{file}:{found.line}: {found.place}: {found.problem}")
        print(f"{file}: {len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}")
    if findings:
        raise typer.Exit(ExitCode.BAD_CONFIG)


def _search(
    kind: str, config: str, changes: list[str] | None, *, address: str | None, as_json: bool
) -> None:
    from phiray.config.load import load_search

    settings = load_search(config, kind, overrides=changes or [])
    from phiray.terminal import build_display

    if address is not None and address != "auto":
        _refuse_json(as_json)
        with build_display() as display:
            from phiray.jobs.cluster.commands import tune_command
            from phiray.jobs.cluster.remote import submit

            code = submit(tune_command(settings), address=address, display=display)
        raise typer.Exit(code)
    with build_display() as display:
        from phiray.jobs.search.run import run_search

        summary = run_search(settings, display=display, attach=address == "auto")
    if as_json:
        _print_json(asdict(summary))
        return
    from phiray.tables import plain_table

    rows = [
        (
            f"{trial.number}{' (best)' if trial.number == summary.best else ''}",
            trial.ending,
            trial.steps,
            "" if trial.validation_nats is None else f"{trial.validation_nats:.4f}",
            trial.told_changes,
        )
        for trial in summary.trials
    ]
    header = ["trial", "ended", "steps", "nats per token", "settings"]
    _print_table(plain_table(summary.name, header, rows))
    print(
        f"{summary.steps_spent} steps, {summary.spent_fraction:.0%} of all full budgets, in "
        f"{summary.seconds:.0f} s"
    )
    if summary.confirmation is not None:
        found = summary.confirmation
        print(
            f"best minus base on {len(found.results)} new seeds: {found.difference:+.4f} "
            f"[{found.ci95[0]:+.4f}, {found.ci95[1]:+.4f}] {found.metric}, held-out. "
            f"{found.verdict}"
        )
    folder = Path(settings.run.output_dir) / summary.name
    print(f"{folder / 'best.yaml'}\n{folder / 'report.html'}")


@app.command("eval")
def evaluate(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="lm, caption or instruct.")],
    checkpoint: Annotated[Path, typer.Argument(help="A run, or one checkpoint of it.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="DIR|URL", help="Where the data is, if it is no longer where it was."),
    ] = None,
    changes: SetOption = None,
    address: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a checkpoint on held-out data, here or on a cluster.

    The result is kept in the folder of the run, for `compare` and `report`.
    """
    _check_word(suite, SUITES, kind="suite")
    from phiray.evals.settings import change_settings

    settings = change_settings(changes or [])
    from phiray.terminal import build_display

    if address is not None and address != "auto":
        _refuse_json(as_json)
        with build_display() as display:
            from phiray.jobs.cluster.commands import eval_command
            from phiray.jobs.cluster.remote import submit

            command = eval_command(suite, checkpoint, data=data, changes=changes or [])
            code = submit(command, address=address, display=display)
        raise typer.Exit(code)

    with build_display() as display:
        from phiray.evals.results import arms_to_json

        if address is None:
            from phiray.evals.run import evaluate_checkpoint

            result = evaluate_checkpoint(
                suite, checkpoint, settings=settings, root=data, progress=display.progress
            )
        else:
            from phiray.jobs.cluster.evaluation import evaluate_on_cluster

            result = evaluate_on_cluster(
                suite, checkpoint, settings=settings, root=data, display=display
            )
    arms = arms_to_json(result.arms)
    if as_json:
        _print_json({"suite": suite, "run": result.run, "arms": arms, "notes": result.notes})
        return
    from phiray.tables import metric_table

    _print_table(metric_table(f"{suite} of {result.run}", arms))
    print("\n".join(result.notes))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Evaluated runs.")],
    as_json: JsonOption = False,
) -> None:
    """Lay evaluated runs side by side, with intervals."""
    from phiray.terminal import build_display

    with build_display():
        from phiray.evals.compare import compare_runs

        comparison = compare_runs(runs)
    if as_json:
        _print_json(comparison.to_json())
    else:
        print(comparison.to_text())


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Evaluated runs.")],
    out: Annotated[
        Path, typer.Option(help="The page; Markdown and JSON are written beside it.")
    ] = Path("report.html"),
) -> None:
    """Write one HTML page, and Markdown and JSON beside it."""
    from phiray.terminal import build_display

    with build_display():
        from phiray.evals.report import write_report

        written = write_report(runs, out)
    print(f"{written.html}\n{written.markdown}\n{written.json}")


@app.command()
def generate(
    checkpoint: Annotated[Path, typer.Argument(help="A run, or one checkpoint of it.")],
    question: Annotated[
        str | None, typer.Argument(help="A question (instruct), or the beginning of a text.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="A JPEG, PNG or WebP file.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 64,
    as_json: JsonOption = False,
) -> None:
    """Give one answer: a caption, a reply, or more text."""
    from phiray.terminal import build_display

    with build_display() as display:
        from phiray.jobs.answer import answer

        text = answer(
            checkpoint,
            question,
            image=image,
            max_new_tokens=max_new_tokens,
            progress=display.progress,
        )
    if as_json:
        _print_json({"answer": text})
    else:
        print(text)


@app.command("config")
def show_config(
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help="A stage, or a search: projector, moe.")
    ],
    preset: Annotated[str, typer.Option(help="tiny or phi-2.")] = "tiny",
    changes: SetOption = None,
) -> None:
    """Print all settings of a stage or a search as YAML, explained."""
    from phiray.config.load import load_config, load_search
    from phiray.config.presets import PRESETS
    from phiray.config.search import SEARCHES
    from phiray.config.show import yaml_from_config

    _check_word(preset, PRESETS, kind="preset")
    load = load_search if stage in SEARCHES else load_config
    print(yaml_from_config(load(preset, stage, overrides=changes or [])), end="")


def main() -> None:
    """Run the command line; a user's mistake ends in one paragraph and its exit code."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        """Leave through all `finally` blocks, so that workers and temporary files go as well."""
        received.append(number)
        if _is_loading(frame):
            _stop_loading(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(ExitCode.TERMINATED)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # Pillow's advice to developers; too large a picture is refused by a limit of our own.
    warnings.filterwarnings("ignore", message="Image size .* could be decompression bomb")
    let_threads_sleep()
    try:
        _run()
    except BaseException:
        if received:  # whatever became of it on its way, it is the signal that ends the command
            sys.exit(_SIGNAL_EXIT + received[0])
        raise


_SIGNAL_EXIT = 128
"""A shell adds it to the number of the signal that ended a command."""
_LOADER = "<frozen importlib"
"""File name of the frames that load a module."""


def _run() -> None:
    try:
        app()
    except PhirayError as error:
        _fail(error.message, error.exit_code)
    except OSError as error:
        code = exit_code_of(error)
        if code is None and error.errno in _BAD_PATHS:
            code = ExitCode.MISSING_INPUT
        if code is None:
            raise
        _fail(f"{error.filename or 'The output'}: {error.strerror}. {_MENDS[code]}", code)


def _is_loading(frame: FrameType | None) -> bool:
    """Say whether a module is being loaded, whose C code could swallow an exception.

    Not while Ray runs: it must be ended in order.
    """
    ray = sys.modules.get("ray")
    if ray is not None and getattr(ray, "is_initialized", bool)():
        return False
    while frame is not None and not frame.f_code.co_filename.startswith(_LOADER):
        frame = frame.f_back
    return frame is not None


def _stop_loading(number: int) -> NoReturn:
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
    os.write(2, f"{show_cursor}stopped while loading; nothing was lost\n".encode())
    os._exit(_SIGNAL_EXIT + number)


_BAD_PATHS = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR})
_MENDS = {
    ExitCode.MISSING_INPUT: "Correct the path.",
    ExitCode.IO: "Free some space, or mend the disk or the access to the storage, and run "
    "it again; what was committed is safe.",
    ExitCode.CANNOT_CREATE: "Name a folder on a disk that can be written.",
    ExitCode.PERMISSION: "Change its permissions, or name a place that is yours.",
}


def _fail(message: str, code: ExitCode) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def _check_word(word: str, options: tuple[str, ...], *, kind: str) -> None:
    from phiray.config.messages import suggest

    if word not in options:
        raise ConfigError(
            f"{word!r} is not a {kind}. It must be one of {', '.join(options)}."
            f"{suggest(word, options)}",
            exit_code=ExitCode.USAGE,
        )


def _refuse_json(as_json: bool) -> None:
    if as_json:
        raise ConfigError(
            "--json was given with --address, but what a job prints is shown as it comes. Leave "
            "it out; the files that the command writes on the cluster are JSON, and `phiray jobs "
            "--json` tells how each ended.",
            exit_code=ExitCode.USAGE,
        )


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def _print_table(table: object) -> None:
    from rich.console import Console

    console = Console()
    console.print(table) if console.is_terminal else Console(width=160).print(table)


if __name__ == "__main__":
    main()
