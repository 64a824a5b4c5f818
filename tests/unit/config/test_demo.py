from pathlib import Path

import pytest

from phiray.config.data import ImageDataConfig
from phiray.config.demo import demo_configs, find_tokenizer
from phiray.config.presets import preset
from phiray.config.stages import (
    STAGE_ADAPTER,
    AlignConfig,
    AnyStageConfig,
    InstructConfig,
    LitgptConfig,
    ScratchConfig,
)
from phiray.errors import DataError, ExitCode


def make(out: Path, *, data: Path | None = None) -> dict[str, AnyStageConfig]:
    configs = demo_configs(out, data=data, vocab_size=1000, seed=5, workers=2)
    return {config.run.name: config for config in configs}


def put_tokenizer(data: Path, name: str) -> None:
    (data / "tokenizer" / name).mkdir(parents=True)
    (data / "tokenizer" / name / "tokenizer.json").write_text("{}")


def test_runs_are_in_the_order_in_which_they_need_one_another(tmp_path: Path) -> None:
    configs = make(tmp_path)
    assert list(configs) == [
        "scratch",
        "litgpt",
        "align-standard",
        "align-scheduled-sampling",
        "instruct-standard",
        "instruct-scheduled-sampling",
    ]
    runs = tmp_path / "runs"
    for name, config in configs.items():
        if isinstance(config, AlignConfig):
            assert config.language_model == str(runs / "scratch"), name
            assert config.vision.weights == str(tmp_path / "clip"), name
        if isinstance(config, InstructConfig):
            assert config.checkpoint == str(runs / "align-standard"), name


@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_the_methods_differ_in_nothing_but_the_method(tmp_path: Path, stage: str) -> None:
    configs = make(tmp_path)
    standard = configs[f"{stage}-standard"].model_dump()
    mixed = configs[f"{stage}-scheduled-sampling"].model_dump()
    differing = {key for key in standard if standard[key] != mixed[key]}
    assert differing == {"run", "method"}
    assert mixed["method"]["kind"] == "scheduled-sampling"


def test_the_language_models_are_compared_on_equal_terms(tmp_path: Path) -> None:
    configs = make(tmp_path)
    scratch, litgpt = configs["scratch"], configs["litgpt"]
    assert isinstance(scratch, ScratchConfig)
    assert isinstance(litgpt, LitgptConfig)
    assert scratch.training == litgpt.training
    assert scratch.model.model_copy(update={"moe": None}) == litgpt.model


@pytest.mark.parametrize("is_real", [False, True])
def test_every_run_has_valid_settings_seed_and_workers(tmp_path: Path, is_real: bool) -> None:
    data = tmp_path / "data" if is_real else None
    if data is not None:
        put_tokenizer(data, "phi-2")
    for config in make(tmp_path / "out", data=data).values():
        assert STAGE_ADAPTER.validate_python(config.model_dump(mode="json")) == config
        assert (config.run.seed, config.cluster.workers) == (5, 2)
        assert config.run.output_dir == str(tmp_path / "out" / "runs")


def test_vocabulary_has_room_and_whole_steps(tmp_path: Path) -> None:
    scratch = make(tmp_path)["scratch"]
    assert isinstance(scratch, ScratchConfig)
    assert scratch.model.vocab_size == 1024


def test_built_in_data_lies_below_the_demo(tmp_path: Path) -> None:
    roots = {config.data.root for config in make(tmp_path).values()}
    assert roots == {str(tmp_path / "data")}


def test_real_data_stays_clean_of_prepared_rows(tmp_path: Path) -> None:
    data = tmp_path / "real"
    put_tokenizer(data, "phi-2")
    configs = make(tmp_path / "out", data=data)
    for name in ("scratch", "litgpt"):
        config = configs[name]
        assert isinstance(config, ScratchConfig | LitgptConfig)
        assert config.data.prepared == str(tmp_path / "out" / "prepared")
    for config in configs.values():
        assert config.data.root == str(data)
        assert config.data.tokenizer == "tokenizer/phi-2"
        assert config.data.split == configs["scratch"].data.split
        assert config.training.max_steps == preset("tiny", config.stage).training.max_steps // 4
        if isinstance(config, InstructConfig):
            assert config.data.conversations == ImageDataConfig().conversations


def test_real_rows_fit_the_language_model(tmp_path: Path) -> None:
    put_tokenizer(tmp_path / "real", "phi-2")
    configs = make(tmp_path / "out", data=tmp_path / "real")
    scratch, instruct = configs["scratch"], configs["instruct-standard"]
    assert isinstance(scratch, ScratchConfig)
    assert isinstance(instruct, InstructConfig)
    assert instruct.data.max_length <= scratch.model.max_position_embeddings


def test_tokenizer_of_phi_2_comes_first(tmp_path: Path) -> None:
    for name in ("gpt2", "phi-2", "a"):
        put_tokenizer(tmp_path, name)
    assert find_tokenizer(tmp_path) == "tokenizer/phi-2"


def test_any_tokenizer_will_do_without_that_of_phi_2(tmp_path: Path) -> None:
    put_tokenizer(tmp_path, "gpt2")
    assert find_tokenizer(tmp_path) == "tokenizer/gpt2"


def test_data_without_tokenizer_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no tokenizer\.json") as caught:
        find_tokenizer(tmp_path)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
