from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from phiray.config.load import change_config, load_search
from phiray.config.stages import AlignConfig, AnyStageConfig
from phiray.evals.results import Metric, SuiteResult
from phiray.jobs.search import confirm
from tests.displays import SilentDisplay

RATES = {"base": 0.01, "best": 0.02}


class Chain:
    """Stands in for training and scoring: the score is a known function of settings and seed."""

    def __init__(self) -> None:
        self.trained: list[AnyStageConfig] = []
        self.attached: list[bool] = []

    # Any: the keywords of `train_stage`.
    def train(self, config: AnyStageConfig, **options: Any) -> None:
        self.trained.append(config)
        self.attached.append(options["attach"])
        Path(config.run.output_dir, config.run.name).mkdir(parents=True)

    # Any: the keywords of `evaluate_checkpoint`.
    def score(self, suite: str, run_dir: Path, **_: Any) -> SuiteResult:
        config = next(c for c in self.trained if c.run.name == run_dir.name)
        value = 10 * config.run.seed - 100 * config.training.learning_rate * config.run.seed
        metric = Metric(value, (value, value), 5, "nats/caption", False)
        return SuiteResult(
            suite, run_dir.name, {run_dir.name: {"caption_nats": metric}}, {}, [], {}
        )


@contextmanager
def no_ray(**_: object) -> Iterator[None]:
    yield


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Chain:
    chain = Chain()
    monkeypatch.setattr(confirm, "ray_session", no_ray)
    monkeypatch.setattr(confirm, "train_stage", chain.train)
    monkeypatch.setattr(confirm, "evaluate_checkpoint", chain.score)
    return chain


def test_both_settings_are_trained_on_new_seeds_and_compared_by_pairs(
    chain: Chain, tmp_path: Path
) -> None:
    search = load_search("tiny", "projector", overrides=["search.confirm_seeds=2"])
    assert isinstance(search.base, AlignConfig)
    best = change_config(search.base, [f"training.learning_rate={RATES['best']}"])
    found = confirm.confirm_best(search, best, folder=tmp_path, num_cpus=2, display=SilentDisplay())
    told = [(c.run.name, c.run.seed, c.training.learning_rate) for c in chain.trained]
    assert told == [
        (f"{name}-seed-{seed}", seed, RATES[name]) for seed in (1, 2) for name in ("base", "best")
    ]
    assert {c.run.output_dir for c in chain.trained} == {str(tmp_path / "confirm")}
    # base: 9 and 18, best: 8 and 16; differences -1 and -2
    assert [(r.base, r.best) for r in found.results] == [(9.0, 8.0), (18.0, 16.0)]
    assert found.difference == pytest.approx(-1.5)
    # Student's t with one degree of freedom: 12.706 * 0.7071 / sqrt(2)
    assert found.ci95 == pytest.approx((-1.5 - 6.353, -1.5 + 6.353), abs=1e-3)
    assert found.verdict == "No difference that these seeds could show."


def test_on_a_cluster_its_nodes_train_and_score(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm, "evaluate_on_cluster", chain.score)
    monkeypatch.setattr(confirm, "evaluate_checkpoint", None)  # not on the head
    search = load_search("tiny", "projector", overrides=["search.confirm_seeds=2"])
    assert isinstance(search.base, AlignConfig)
    confirm.confirm_best(
        search, search.base, folder=tmp_path, num_cpus=2, display=SilentDisplay(), attach=True
    )
    assert chain.attached == [True] * 4
