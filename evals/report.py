"""The report of one or more runs: one self-contained page, with Markdown and JSON beside it.

Source: report.json follows the schema phiray.report/1; the page and the Markdown are made of the
same results.
Limits: report.json is equal, byte for byte, between two runs of one seed but for its block
`measured`; the page shows that block, so it is not.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from phiray.checkpoints.files import write_json, write_text
from phiray.data.atomic import error_from_write
from phiray.errors import ConfigError, DataError, ExitCode
from phiray.evals.collect import EvaluatedRun, collect_runs
from phiray.evals.compare import compare_all, comparisons_to_json, merge_arms
from phiray.evals.report_markdown import render_markdown
from phiray.evals.report_page import ReportContent, render_page
from phiray.evals.results import arms_to_json

SCHEMA = "phiray.report/1"
_PAGE_SUFFIX = ".html"


@dataclass(frozen=True)
class Report:
    """Where the three forms of a report are."""

    html: Path
    markdown: Path
    json: Path


def write_report(
    folders: Sequence[Path],
    out: Path,
    *,
    notes: Sequence[str] = (),
    measured: Callable[[], Mapping[str, object]] = dict,
) -> Report:
    """Write the report of evaluated runs.

    Args:
        folders: of the runs, in the order in which they are shown.
        out: the page; `.md` and `.json` of the same name come beside it.
        notes: what a reader must know beside what the evaluations say themselves.
        measured: gives times and memory of whatever made the runs. It is asked once all numbers
            of the report are there, so that its times can hold the work on them, too.

    Raises:
        ConfigError: if `out` cannot be a page (2).
        DataError: if a folder holds no run or none was evaluated (66), or the report cannot be
            written (73, 74, 77).
    """
    report = _places(out)
    runs = collect_runs(folders)
    if not any(run.suites for run in runs):
        raise DataError(
            f"None of the {len(runs)} runs was evaluated. Expected evals/SUITE/result.json in at "
            "least one. Run `phiray eval` first.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    content = ReportContent(
        runs=runs,
        evals=merge_arms(runs),
        comparisons=compare_all(runs),
        notes=_all_notes(runs, notes),
        measured=_measured(runs, measured()),
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(report.markdown, render_markdown(content))
        write_json(report.json, report_payload(content))
        write_text(report.html, render_page(content))
    except OSError as error:
        raise error_from_write(out, error, setting="--out") from error
    return report


def _places(out: Path) -> Report:
    """Name the three files; the page must not take the place of another one, or of a folder."""
    if out.suffix.lower() != _PAGE_SUFFIX:
        is_folder = out.is_dir() or not out.name
        example = out / f"report{_PAGE_SUFFIX}" if is_folder else out.with_suffix(_PAGE_SUFFIX)
        raise ConfigError(
            f"--out is {out}, which does not end in {_PAGE_SUFFIX}. It must name the page; "
            f"Markdown and JSON come beside it. Give e.g. --out {example}.",
            exit_code=ExitCode.USAGE,
        )
    report = Report(out, out.with_suffix(".md"), out.with_suffix(".json"))
    for path in (report.html, report.markdown, report.json):
        if path.is_dir():
            raise ConfigError(
                f"{path} is a folder, and --out {out} would write a file there. Expected a name "
                f"that is free or a file. Give e.g. --out {out.with_stem(f'{out.stem}-2')}.",
                exit_code=ExitCode.USAGE,
            )
    foreign = [path for path in (report.markdown, report.json) if path.exists()]
    if foreign and not report.html.exists():
        raise ConfigError(
            f"{foreign[0]} exists, but no page {out.name} beside it: it is no report's. --out "
            f"{out} would replace it. Give another name, e.g. --out "
            f"{out.with_stem(f'{out.stem}-report')}.",
            exit_code=ExitCode.USAGE,
        )
    return report


def report_payload(content: ReportContent) -> dict[str, object]:
    """Return the content of report.json."""
    return {
        "schema": SCHEMA,
        "evals": {suite: arms_to_json(arms) for suite, arms in content.evals.items()},
        "comparisons": comparisons_to_json(content.comparisons),
        "data": _data(content.runs),
        "training": {run.name: _training(run) for run in content.runs},
        "notes": content.notes,
        "measured": content.measured,
    }


def _data(runs: Sequence[EvaluatedRun]) -> dict[str, dict[str, object]]:
    data: dict[str, dict[str, object]] = {}
    for run in runs:
        for suite, result in run.suites.items():
            data.setdefault(suite, {})[run.name] = result.data
    return data


def _training(run: EvaluatedRun) -> dict[str, object]:
    """Return what was trained and how, without anything that may differ between two runs."""
    settings = run.config.model_dump(mode="json")
    return {
        "stage": run.config.stage,
        "method": settings.get("method", {"kind": "standard"}),
        **({"source": run.source} if run.source else {}),
        "model": run.model,
        "seed": run.config.run.seed,
        "steps": run.curve.steps[-1] if run.curve.steps else 0,
        "label_tokens": run.label_tokens,
        "final_loss_nats_per_token": run.curve.final_loss,
        "settings": settings["training"],
        "heldout_fraction": run.config.data.split.heldout_fraction,
        "split_salt": run.config.data.split.salt,
    }


def _all_notes(runs: Sequence[EvaluatedRun], notes: Sequence[str]) -> list[str]:
    own = [
        note
        for run in runs
        for suite, result in run.suites.items()
        for note in (*result.notes, *run.step_notes(suite))
    ]
    return list(dict.fromkeys([*notes, *own]))


def _measured(runs: Sequence[EvaluatedRun], given: Mapping[str, object]) -> dict[str, object]:
    return {
        **given,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "runs": {
            run.name: {
                "folder": str(run.folder),
                "training_seconds": run.curve.seconds,
                "commit": run.manifest.get("commit"),
                "versions": run.manifest.get("versions"),
                "workers": run.config.cluster.workers,
            }
            for run in runs
        },
        "evals": {
            suite: {run.name: run.suites[suite].measured for run in runs if suite in run.suites}
            for suite in sorted({suite for run in runs for suite in run.suites})
        },
    }
