"""The six runs of the demo: `tiny` on the demo's own folders, both methods in both VLM stages.

Limits: on real samples what must fit the data differs: vocabulary, split share, files; and, since
50,000 ids cost most of the time, each run has a quarter of the steps and text stops at a set size.
"""

from pathlib import Path

from phiray.config.data import ImageDataConfig, SplitConfig, TextDataConfig
from phiray.config.model import VisionConfig, rounded_vocab_size
from phiray.config.presets import preset
from phiray.config.stages import (
    AlignConfig,
    AnyStageConfig,
    InstructConfig,
    LitgptConfig,
    RunConfig,
    ScratchConfig,
)
from phiray.config.training import ClusterConfig, ScheduledSamplingMethod, TrainingConfig
from phiray.errors import DataError, ExitCode

_REAL_HELDOUT_FRACTION = 0.2
"""Of a few hundred real images a tenth would give intervals too wide to read."""
_REAL_TRAIN_TOKENS = 2_000_000
"""Far more than the steps of the demo read; the whole of the books would only cost time."""
_REAL_STEPS_DIVISOR = 4
"""A step over 50,000 ids takes ten times as long as one over the built-in world's thousand."""


def demo_configs(
    out: Path, *, data: Path | None, vocab_size: int, seed: int, workers: int
) -> list[AnyStageConfig]:
    """Return the settings of each run, in the order in which they must be trained.

    Args:
        out: folder of the demo.
        data: folder with real samples; none is the built-in world below `out`.
        vocab_size: ids that the tokenizer of the data needs.
        seed: of every run.
        workers: training processes of every run.
    """
    place = _Place(out, data, vocab_size=vocab_size, seed=seed, workers=workers)
    sampling = ScheduledSamplingMethod(end=0.75)
    scratch, litgpt = place.language_model("scratch"), place.language_model("litgpt")
    standard, mixed = place.align("align-standard"), place.align("align-scheduled-sampling")
    answers = place.instruct("instruct-standard")
    mixed_answers = place.instruct("instruct-scheduled-sampling")
    return [
        scratch,
        litgpt,
        standard,
        mixed.model_copy(update={"method": sampling}),
        answers,
        mixed_answers.model_copy(update={"method": sampling}),
    ]


def find_tokenizer(data: Path) -> str:
    """Return the folder of the tokenizer below `data`: Phi-2's if there is one.

    Raises:
        DataError: 66 if there is none.
    """
    files = sorted((data / "tokenizer").rglob("tokenizer.json"))
    if not files:
        raise DataError(
            f"{data / 'tokenizer'} holds no tokenizer.json. It must hold that of Phi-2 or GPT-2. "
            "Put one there.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    of_phi = [file for file in files if "phi-2" in file.parent.name]
    return str((of_phi or files)[0].parent.relative_to(data))


class _Place:
    """Where the demo's data and runs are, and what all runs share."""

    def __init__(
        self, out: Path, data: Path | None, *, vocab_size: int, seed: int, workers: int
    ) -> None:
        self._out, self._data = out, data
        self._vocab_size = rounded_vocab_size(vocab_size)
        self._seed = seed
        self._cluster = ClusterConfig(workers=workers)

    def language_model(self, stage: str) -> ScratchConfig | LitgptConfig:
        base = preset("tiny", stage)
        assert isinstance(base, ScratchConfig | LitgptConfig)
        model = base.model.model_copy(update={"vocab_size": self._vocab_size})
        return base.model_copy(
            update={
                **self._common(stage, base.training),
                "data": self._text(base.data),
                "model": model,
            }
        )

    def align(self, name: str) -> AlignConfig:
        base = preset("tiny", "align")
        assert isinstance(base, AlignConfig)
        return base.model_copy(
            update={
                **self._common(name, base.training),
                "data": self._images(base.data),
                "language_model": str(self._out / "runs" / "scratch"),
                "vision": self._vision(base.vision),
            }
        )

    def instruct(self, name: str) -> InstructConfig:
        base = preset("tiny", "instruct")
        assert isinstance(base, InstructConfig)
        return base.model_copy(
            update={
                **self._common(name, base.training),
                "data": self._images(base.data),
                "checkpoint": str(self._out / "runs" / "align-standard"),
            }
        )

    def _common(self, name: str, training: TrainingConfig) -> dict[str, object]:
        run = RunConfig(name=name, output_dir=str(self._out / "runs"), seed=self._seed)
        if self._data is not None:
            training = training.model_copy(
                update={"max_steps": training.max_steps // _REAL_STEPS_DIVISOR}
            )
        return {"run": run, "cluster": self._cluster, "training": training}

    def _vision(self, vision: VisionConfig) -> VisionConfig:
        return vision.model_copy(update={"weights": str(self._out / "clip")})

    def _text(self, data: TextDataConfig) -> TextDataConfig:
        update = self._root() | {"prepared": str((self._out / "prepared").absolute())}
        if self._data is not None:
            update["max_train_tokens"] = _REAL_TRAIN_TOKENS
        return data.model_copy(update=update)

    def _images(self, data: ImageDataConfig) -> ImageDataConfig:
        update = self._root()
        if self._data is not None:
            defaults = ImageDataConfig()
            update["annotations"] = defaults.annotations
            update["conversations"] = defaults.conversations
            update["max_length"] = 96
        return data.model_copy(update=update)

    def _root(self) -> dict[str, object]:
        if self._data is None:
            return {"root": str(self._out / "data")}
        return {
            "root": str(self._data),
            "tokenizer": find_tokenizer(self._data),
            "split": SplitConfig(heldout_fraction=_REAL_HELDOUT_FRACTION),
        }
