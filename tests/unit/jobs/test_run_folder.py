import errno
import json
from pathlib import Path

import pytest

from phiray.config.load import config_from_file
from phiray.config.stages import AlignConfig, ScratchConfig
from phiray.config.training import ClusterConfig
from phiray.data.sources.annotations import Excluded
from phiray.errors import CheckpointError, ConfigError, DataError, ExitCode
from phiray.jobs import run_folder as run_folder_module
from phiray.jobs.run_folder import (
    check_run_folder,
    create_run_folder,
    has_begun,
    package_versions,
    run_folder,
    source_commit,
    update_settings,
    write_excluded,
    write_manifest,
)
from phiray.stages.parts import MANIFEST_FILE, PreparedData
from tests.stage_builders import (
    MOE,
    align_config,
    instruct_config,
    phi_config,
    scratch_config,
    training,
)

ROWS = PreparedData("f7", "q", {"rows": 7})


@pytest.fixture
def config(tmp_path: Path) -> ScratchConfig:
    return scratch_config(tmp_path / "data", tmp_path / "runs")


def start(config: ScratchConfig) -> Path:
    """Do with the folder what the start of a new run does."""
    folder = check_run_folder(config, resume=False)
    create_run_folder(config)
    return folder


def test_new_run_holds_its_settings_and_nothing_else(config: ScratchConfig) -> None:
    folder = start(config)
    assert folder == run_folder(config)
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert check_run_folder(config, resume=True) == folder


def test_empty_folder_is_taken(config: ScratchConfig) -> None:
    run_folder(config).mkdir(parents=True)
    assert (start(config) / "config.yaml").is_file()


def test_occupied_folder_is_refused_and_untouched(config: ScratchConfig) -> None:
    folder = start(config)
    (folder / "metrics.jsonl").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is not empty") as caught:
        start(config)
    assert int(caught.value.exit_code) == 73
    assert "--set run.name=scratch-2" in caught.value.message
    assert (folder / "metrics.jsonl").read_text() == "mine"


def test_file_in_the_way_is_refused(config: ScratchConfig) -> None:
    folder = run_folder(config)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")
    with pytest.raises(DataError, match="a file is in its way") as caught:
        start(config)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE
    assert folder.read_text() == "a file"


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 74), (errno.EACCES, 77), (errno.EROFS, 73)]
)
def test_folder_that_cannot_be_made_tells_the_exit_code_of_its_cause(
    config: ScratchConfig, number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "why")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(DataError, match="scratch cannot be written: why") as caught:
        create_run_folder(config)
    assert caught.value.exit_code == code


def test_file_in_place_of_the_output_folder_is_refused(config: ScratchConfig) -> None:
    Path(config.run.output_dir).write_text("a file")
    with pytest.raises(DataError, match=r"or set run\.output_dir to another") as caught:
        start(config)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_nothing_to_resume_is_missing_input(config: ScratchConfig) -> None:
    with pytest.raises(CheckpointError, match="holds no run to resume") as caught:
        check_run_folder(config, resume=True)
    assert int(caught.value.exit_code) == 66
    assert not run_folder(config).exists()


def test_resume_lists_every_setting_that_differs(config: ScratchConfig) -> None:
    start(config)
    data = config.data.model_copy(update={"sequence_length": 16})
    other = config.model_copy(update={"training": training(5), "data": data})
    with pytest.raises(ConfigError, match="was started with other settings") as caught:
        check_run_folder(other, resume=True)
    assert "data.sequence_length was 32, now 16" in caught.value.message
    assert "training.max_steps was 3, now 5" in caught.value.message
    assert caught.value.message.count(" was ") == 3  # and the sentence
    assert caught.value.exit_code == ExitCode.BAD_CONFIG


def test_resume_refuses_settings_that_were_spoilt_by_hand(config: ScratchConfig) -> None:
    stored = start(config) / "config.yaml"
    stored.write_text(stored.read_text().replace("max_steps: 3", "max_steps: three"))
    match = rf"^{stored}:\d+: training\.max_steps is \"three\"\. It must be a whole number"
    with pytest.raises(ConfigError, match=match):
        check_run_folder(config, resume=True)


def test_resume_names_a_group_that_is_gone(config: ScratchConfig) -> None:
    start(config)
    assert config.model.moe == MOE
    with pytest.raises(ConfigError, match=r"model\.moe was \{.*\}, now None"):
        check_run_folder(config.model_copy(update={"model": phi_config()}), resume=True)


def test_resume_may_change_the_cluster(config: ScratchConfig) -> None:
    folder = start(config)
    other = config.model_copy(update={"cluster": ClusterConfig(workers=2, cpus_per_worker=1)})
    assert check_run_folder(other, resume=True) == folder


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"readers": 4, "decode": "tasks", "max_bad_fraction": 0.5, "sign_images": False}},
        {"data": {"root": "elsewhere", "node_cache": "/elsewhere", "node_cache_gb": 5.0}},
        {"training": {"gradient_accumulation_steps": 2, "checkpoint_every_steps": 7}},
        {"training": {"keep_checkpoints": 9, "log_row_ids": True}},
        {"language_model": "elsewhere", "vision": {"weights": "elsewhere"}},
    ],
)
def test_resume_may_change_what_changes_nothing_that_is_learnt(
    tmp_path: Path, change: dict[str, dict[str, object] | str]
) -> None:
    config = align_config(tmp_path, tmp_path, clip=tmp_path, language_model=tmp_path)
    create_run_folder(config)
    other = config.model_copy(
        update={
            key: value if isinstance(value, str) else getattr(config, key).model_copy(update=value)
            for key, value in change.items()
        }
    )
    folder = check_run_folder(other, resume=True)
    update_settings(other)
    assert config_from_file(folder / "config.yaml") == other


def test_settings_that_stayed_are_not_written_again(config: ScratchConfig) -> None:
    stored = start(config) / "config.yaml"
    before = stored.stat()
    update_settings(config)
    assert stored.stat() == before


def test_resume_follows_a_run_that_was_moved(config: ScratchConfig, tmp_path: Path) -> None:
    start(config).parent.rename(tmp_path / "moved")
    run = config.run.model_copy(update={"output_dir": str(tmp_path / "moved")})
    data = config.data.model_copy(update={"prepared": "elsewhere"})
    moved = config.model_copy(update={"run": run, "data": data})
    assert check_run_folder(moved, resume=True) == tmp_path / "moved" / "scratch"


def test_resume_of_instruct_follows_a_checkpoint_that_was_moved(tmp_path: Path) -> None:
    config = instruct_config(tmp_path, tmp_path, checkpoint=tmp_path / "a")
    create_run_folder(config)
    moved = config.model_copy(update={"checkpoint": str(tmp_path / "b")})
    assert check_run_folder(moved, resume=True) == run_folder(config)


def test_manifest_says_what_the_run_is_made_of(tmp_path: Path) -> None:
    data = PreparedData("f7", "q", {"rows": 7}, (Excluded("empty caption", "annotation 3"),))
    write_manifest(tmp_path, data=data, models={"checkpoint": "a1"}, seed=3)
    record = json.loads((tmp_path / "manifest.json").read_text())
    assert record["data"] == {"counts": {"rows": 7}, "fingerprint": "f7"}
    assert record["models"] == {"checkpoint": "a1"}
    assert record["seed"] == 3
    assert record["commit"] == source_commit()
    assert record["versions"] == package_versions()
    assert record["versions"]["torch"][0].isdigit()


def test_manifest_of_a_resumed_run_refuses_other_data(tmp_path: Path) -> None:
    write_manifest(tmp_path, data=ROWS, models={"checkpoint": "a1"}, seed=3)
    write_manifest(tmp_path, data=ROWS, models={"checkpoint": "a1"}, seed=3)
    match = r"changed since it was started \(then \{'rows': 7\}, now \{'rows': 8\}\)"
    with pytest.raises(DataError, match=match):
        write_manifest(tmp_path, data=PreparedData("f8", "q", {"rows": 8}), models={}, seed=3)
    match = r"\(the counts are equal, but texts, tokenizer or image files are not\)"
    with pytest.raises(DataError, match=match):
        write_manifest(tmp_path, data=PreparedData("f8", "q", {"rows": 7}), models={}, seed=3)


def test_manifest_of_a_resumed_run_refuses_other_models(tmp_path: Path) -> None:
    write_manifest(tmp_path, data=ROWS, models={"checkpoint": "a1"}, seed=3)
    with pytest.raises(CheckpointError, match=r"checkpoint of .* changed since it was started"):
        write_manifest(tmp_path, data=ROWS, models={"checkpoint": "b2"}, seed=3)
    with pytest.raises(CheckpointError, match=r"checkpoint of .* changed since it was started"):
        write_manifest(tmp_path, data=ROWS, models={}, seed=3)


def test_excluded_records_are_listed_once_for_a_run(tmp_path: Path) -> None:
    found = (Excluded("empty caption", "annotation 3"), Excluded("missing image", "4.jpg"))
    path = write_excluded(tmp_path, found)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {"reason": "empty caption", "detail": "annotation 3"},
        {"reason": "missing image", "detail": "4.jpg"},
    ]
    before = path.stat()
    assert write_excluded(tmp_path, found) == path
    assert path.stat() == before


def test_manifest_keeps_its_first_start_and_lists_resumptions_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for commit in ("first", "first", "second", "second", "first"):
        monkeypatch.setattr(run_folder_module, "source_commit", lambda commit=commit: commit)
        write_manifest(tmp_path, data=ROWS, models={}, seed=3)
    record = json.loads((tmp_path / "manifest.json").read_text())
    assert (record["commit"], record["seed"]) == ("first", 3)
    assert [item["commit"] for item in record["resumed_with"]] == ["second", "first"]
    assert record["resumed_with"][0]["versions"] == package_versions()
    assert set(record["resumed_with"][0]) == {"versions", "python", "commit"}


def test_manifest_of_a_run_that_went_on_unchanged_stays_as_it_is(tmp_path: Path) -> None:
    write_manifest(tmp_path, data=ROWS, models={}, seed=3)
    before = (tmp_path / "manifest.json").read_bytes()
    write_manifest(tmp_path, data=ROWS, models={}, seed=3)
    assert (tmp_path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_manifest_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_FILE).write_text(text)
    data = PreparedData("hash", "q", {"rows": 3})
    with pytest.raises(CheckpointError, match=r"manifest\.json (is not JSON|names neither)"):
        write_manifest(tmp_path, data=data, models={}, seed=0)


def test_run_has_begun_once_its_settings_are_there(config: ScratchConfig) -> None:
    assert not has_begun(config)
    create_run_folder(config)
    assert has_begun(config)


def test_a_resumed_run_may_move_its_features_but_keeps_to_having_them_or_not(
    tmp_path: Path,
) -> None:
    nowhere = tmp_path / "nowhere"
    plain = align_config(tmp_path, tmp_path / "runs", clip=nowhere, language_model=nowhere)

    def with_features(folder: str | None) -> AlignConfig:
        data = plain.data.model_copy(update={"feature_cache": folder})
        return plain.model_copy(update={"data": data})

    check_run_folder(with_features("features"), resume=False)
    create_run_folder(with_features("features"))
    check_run_folder(with_features("/elsewhere"), resume=True)
    match = r"data\.feature_cache was 'features', now None"
    with pytest.raises(ConfigError, match=match):
        check_run_folder(plain, resume=True)
    update_settings(plain)
    with pytest.raises(ConfigError, match=r"data\.feature_cache was None, now 'features'"):
        check_run_folder(with_features("features"), resume=True)
