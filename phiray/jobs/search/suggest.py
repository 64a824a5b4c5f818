"""Give Tune the trials of a search, one by one: those that are planned, then those Optuna draws.

Source: Ray Tune's Searcher, which is asked for a trial whenever there is room for one.
Limits: one driver; what Tune keeps of a searcher is not used, phiray goes on from its own files.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ray.tune.search import Searcher

from phiray.config.search import AnySearch
from phiray.errors import ConfigError
from phiray.jobs.search.log import SearchLog
from phiray.jobs.search.optuna_draws import OptunaSampler
from phiray.jobs.search.plan import (
    MAX_DRAWS,
    PlannedTrial,
    keep_trials,
    num_trials,
    trial_config,
)
from phiray.jobs.search.trial import TrialPayload
from phiray.training.loop import VALIDATION_METRIC

Begin = Callable[[PlannedTrial], dict[str, TrialPayload]]
"""Told of each trial that is to start; returns what Tune gives to it."""


class PlannedSearcher(Searcher):  # type: ignore[misc]  # Ray's class is untyped
    """Suggests the trials that have not ended, and writes down new ones before they start."""

    def __init__(
        self,
        config: AnySearch,
        planned: Sequence[PlannedTrial],
        *,
        folder: Path,
        log: SearchLog,
        begin: Begin,
    ) -> None:
        """Tell the sampler, if there is one, what the trials that ended have measured.

        Args:
            config: of the search.
            planned: all trials so far.
            folder: of the search.
            log: what was measured, and which trials have ended.
            begin: told of each trial that is to start.
        """
        super().__init__(metric=VALIDATION_METRIC, mode="min")
        self._config, self._folder, self._begin = config, folder, begin
        self._planned = list(planned)
        self._waiting = deque(trial for trial in planned if trial.number not in log.endings)
        self._begun: dict[str, PlannedTrial] = {}
        self._sampler: OptunaSampler | None = None
        if config.search.algorithm == "optuna":
            self._sampler = OptunaSampler(config, num_planned=len(planned))
            for trial in planned:
                ending, results = log.endings.get(trial.number), log.results_of(trial.number)
                if ending is not None:
                    nats = results[-1].validation_nats if results else None
                    self._sampler.tell(trial, None if ending == "failed" else nats)

    def __getstate__(self) -> dict[str, object]:
        """Leave all out of Tune's pickled record of the search: a display has locks and threads."""
        return {}

    def set_search_properties(self, *_: object, **__: object) -> bool:
        """Take nothing of Tune's: metric and space are known."""
        return True

    def suggest(self, trial_id: str) -> dict[str, TrialPayload] | str:
        """Return what the next trial is given, or that there is none left.

        Raises:
            ConfigError: if none of many draws can be trained.
        """
        if self._waiting:
            trial = self._waiting.popleft()
        elif len(self._planned) < num_trials(self._config.search, self._planned):
            trial = self._draw()
        else:
            return str(Searcher.FINISHED)
        self._begun[trial_id] = trial
        return self._begin(trial)

    def on_trial_complete(
        self,
        trial_id: str,
        result: Mapping[str, object] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 (Ray's signature)
    ) -> None:
        """Tell the sampler what came of a trial."""
        nats = None if error or not result else result.get(VALIDATION_METRIC)
        if self._sampler is not None:
            self._sampler.tell(self._begun[trial_id], None if nats is None else float(str(nats)))

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing with Tune."""

    def restore(self, checkpoint_path: str) -> None:
        """Take nothing from Tune."""

    def _draw(self) -> PlannedTrial:
        assert self._sampler is not None, "all others are planned from the start"
        for _ in range(MAX_DRAWS):
            trial = self._sampler.draw(len(self._planned))
            try:
                trial_config(self._config, trial, folder=self._folder)
            except ConfigError as error:
                self._sampler.tell(trial, None)
                refused = error
            else:
                self._planned.append(trial)
                keep_trials(self._planned, self._folder)
                return trial
        raise ConfigError(
            f"{MAX_DRAWS} draws of search.space gave nothing that can be trained. {refused.message}"
        )
