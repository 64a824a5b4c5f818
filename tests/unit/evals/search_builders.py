"""A finished search, as the page and its tests need it."""

from phiray.evals.search_results import Confirmation, SearchSummary, SeedResult, TrialSummary


def build_summary(*, confirmed: bool = True) -> SearchSummary:
    trials = [
        TrialSummary(0, {}, "complete", 30, [(10, 2.0), (20, 1.5), (30, 1.25)]),
        TrialSummary(1, {"projector.kind": "linear"}, "stopped", 12, [(10, 3.0)]),
        TrialSummary(2, {"projector.kind": "moe"}, "complete", 30, [(10, 1.0), (30, 0.5)]),
        TrialSummary(3, {"projector.kind": "<b>"}, "stopped", 10, [(10, 2.5)]),
        TrialSummary(4, {"projector.kind": "mlp"}, "not run", 0, []),
    ]
    found = [SeedResult(1, 2.0, 1.0), SeedResult(2, 2.0, 1.5)]
    confirmation = Confirmation(
        "caption", "caption_nats", "nats", False, found, -0.75, (-1.0, -0.5)
    )
    return SearchSummary("s", "projector", trials, 2, 30, 9.0, confirmation if confirmed else None)
