from pathlib import Path

import pytest

from phiray.config.data import TextDataConfig
from phiray.data.check.run import check_data
from phiray.errors import DataError, ExitCode
from tests.image_builders import file_name, write_image_world
from tests.text_builders import write_books, write_redpajama


def test_check_data_of_a_folder_looks_at_all_data_sets(tmp_path: Path) -> None:
    write_image_world(tmp_path)
    write_books(tmp_path, {1: "One book.", 2: "Another book."})
    write_redpajama(tmp_path, ["A row.", "Another row.", "A third row."])

    report = check_data(tmp_path)

    counts = report.counts
    assert not report.findings
    assert counts["images"] == 12
    assert counts["gutenberg train documents"] + counts["gutenberg held-out documents"] == 2
    assert counts["redpajama train documents"] + counts["redpajama held-out documents"] == 3


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_check_data_of_settings_reads_their_files(tmp_path: Path, scheme: str) -> None:
    config = write_image_world(tmp_path).model_copy(update={"root": f"{scheme}{tmp_path}"})
    (tmp_path / config.images / "train2017" / file_name(1)).unlink()

    report = check_data(config)

    assert report.findings["missing image"].count == 2


def test_check_data_of_text_settings_looks_at_their_source_alone(tmp_path: Path) -> None:
    write_books(tmp_path, {1: "One book."})
    write_redpajama(tmp_path, ["A row.", " "])

    report = check_data(TextDataConfig(root=str(tmp_path), source="redpajama"))

    assert report.findings["redpajama: blank text"].count == 1
    assert report.totals == {"redpajama documents": 2}


def test_check_data_of_an_empty_folder_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data set") as caught:
        check_data(tmp_path)

    assert caught.value.exit_code == ExitCode.MISSING_INPUT
