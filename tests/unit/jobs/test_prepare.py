from pathlib import Path

import pytest

from phiray.errors import DataError, ExitCode
from phiray.jobs.prepare import prepare_stage
from tests.stage_builders import litgpt_config, scratch_config


def test_prepare_stage_tokenises_and_tells_of_it(world: Path, tmp_path: Path) -> None:
    config = litgpt_config(world, tmp_path)
    data = config.data.model_copy(update={"prepared": str(tmp_path / "prepared")})
    told: list[tuple[str, int, int]] = []

    def progress(description: str, done: int, total: int) -> None:
        told.append((description, done, total))

    config = config.model_copy(update={"data": data})
    counts = prepare_stage(config, progress=progress).counts
    assert counts["rows"] > 0
    assert list((tmp_path / "prepared").glob("redpajama-*/tokens.bin"))
    assert told[-1][0] == "tokenise"
    assert told[-1][1] == told[-1][2]


def test_prepare_stage_passes_missing_data_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere") as caught:
        prepare_stage(scratch_config(tmp_path / "nowhere", tmp_path))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
