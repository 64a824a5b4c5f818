"""The settings of the demo's runs."""

from pathlib import Path

import pytest

from phiray.config.demo import demo_configs, find_tokenizer
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig, ScratchConfig
from phiray.errors import DataError, ExitCode

OUT = Path("out")


def build(data: Path | None = None) -> list[AnyStageConfig]:
    return list(demo_configs(OUT, data=data, vocab_size=1001, seed=7, workers=2))


def test_demo_configs_train_each_stage_before_what_needs_it() -> None:
    seen: set[str] = set()
    for config in build():
        if isinstance(config, AlignConfig):
            assert config.language_model in seen
        if isinstance(config, InstructConfig):
            assert config.checkpoint in seen
        seen.add(str(Path(config.run.output_dir) / config.run.name))
    assert len(seen) == 6


def test_demo_configs_share_seed_workers_and_folder() -> None:
    found = {(config.run.seed, config.cluster.workers, config.run.output_dir) for config in build()}
    assert found == {(7, 2, "out/runs")}


def test_demo_configs_compare_methods_on_equal_terms() -> None:
    for stage in (AlignConfig, InstructConfig):
        standard, sampling = (config for config in build() if isinstance(config, stage))
        assert standard.method.kind == "standard"
        assert sampling.method.kind == "scheduled-sampling"
        ignored = {"run": standard.run, "method": standard.method}
        assert sampling.model_copy(update=ignored) == standard


def test_demo_configs_have_a_row_for_each_id_of_the_tokenizer() -> None:
    scratch = next(config for config in build() if isinstance(config, ScratchConfig))
    assert scratch.model.vocab_size >= 1001
    assert scratch.model.vocab_size % 64 == 0


def test_demo_configs_on_real_samples_write_nothing_into_them(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer" / "phi-2-reconstructed"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").touch()
    for config in build(tmp_path):
        assert config.data.root == str(tmp_path)
        assert config.data.tokenizer == "tokenizer/phi-2-reconstructed"
        assert config.run.output_dir == "out/runs"
    scratch = next(config for config in build(tmp_path) if isinstance(config, ScratchConfig))
    assert Path(scratch.data.prepared).is_relative_to(OUT.absolute())


def test_find_tokenizer_prefers_that_of_phi(tmp_path: Path) -> None:
    for name in ("gpt2", "phi-2-reconstructed"):
        (tmp_path / "tokenizer" / name).mkdir(parents=True)
        (tmp_path / "tokenizer" / name / "tokenizer.json").touch()
    assert find_tokenizer(tmp_path) == "tokenizer/phi-2-reconstructed"


def test_find_tokenizer_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no tokenizer\.json\. It must hold") as caught:
        find_tokenizer(tmp_path)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
