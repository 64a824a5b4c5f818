"""The report of one or more runs: one self-contained page, with Markdown and JSON beside it.

Source: report.json follows the schema phiray.report/1; the page and the Markdown are made of the
same results.
Limits: report.json is equal, byte for byte, between two runs of one seed but for its block
`measured`; the page shows that block, so it is not.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from phiray.checkpoints.files import write_json
from phiray.errors import DataError, ExitCode, exit_code_of
from phiray.evals.collect import EvaluatedRun, collect_runs
from phiray.evals.compare import compare_all, comparisons_to_json, merge_arms
from phiray.evals.report_markdown import render_markdown
from phiray.evals.report_page import ReportContent, render_page
from phiray.evals.results import arms_to_json

SCHEMA = "phiray.report/1"


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
    measured: Mapping[str, object] | None = None,
) -> Report:
    """Write the report of evaluated runs.

    Args:
        folders: of the runs, in the order in which they are shown.
        out: the page; `.md` and `.json` of the same name come beside it.
        notes: what a reader must know beside what the evaluations say themselves.
        measured: times and memory of whatever made the runs.

    Raises:
        DataError: if a folder holds no run, none was evaluated, or `out` cannot be written.
    """
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
        measured=_measured(runs, measured or {}),
    )
    report = Report(out, out.with_suffix(".md"), out.with_suffix(".json"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(report.json, report_payload(content))
        report.markdown.write_text(render_markdown(content), encoding="utf-8")
        report.html.write_text(render_page(content), encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror}. It must be in a folder that you can "
            "write. Name another file with --out.",
            exit_code=exit_code_of(error) or ExitCode.CANNOT_CREATE,
        ) from error
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
        "seed": run.config.run.seed,
        "steps": run.curve.steps[-1] if run.curve.steps else 0,
        "label_tokens": run.label_tokens,
        "final_loss_nats_per_token": run.curve.final_loss,
        "settings": settings["training"],
        "heldout_fraction": run.config.data.split.heldout_fraction,
        "split_salt": run.config.data.split.salt,
    }


def _all_notes(runs: Sequence[EvaluatedRun], notes: Sequence[str]) -> list[str]:
    own = [note for run in runs for result in run.suites.values() for note in result.notes]
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
