from collections import Counter
from pathlib import Path

import pytest

from phiray.data.sources.conversations import read_conversations
from phiray.data.split import document_key
from phiray.errors import DataError, ExitCode
from phiray.images.paths import ImageFolder
from phiray.text.prompts import Turn
from tests.image_builders import coco_content, llava_row, text_row, write_images, write_json

HUMAN = {"from": "human", "value": "<image>\nWhat?"}
GPT = {"from": "gpt", "value": "A box."}


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    return ImageFolder.scan(write_images(tmp_path, num_images=3))


@pytest.mark.parametrize("question", ["<image>\nWhat is it?", "What is it?\n<image>"])
def test_read_conversations_pairs_turns(tmp_path: Path, folder: ImageFolder, question: str) -> None:
    file = write_json(tmp_path / "rows.json", [llava_row(2, question=question)])

    found = read_conversations([file], folder)

    assert found.rows[0].image_id == 2
    assert found.rows[0].path == folder.paths[2]
    assert found.rows[0].turns == (Turn("What is it?", "Box 2."), Turn("Where?", "Left."))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": None}, "bad image marker"),
        ({"image": 7}, "no image"),
        ({"image": "kitten.jpg"}, "no image id"),
        ({"image": "../000000000001.jpg"}, "unsafe name"),
        ({"image": "000000000099.jpg"}, "missing image"),
        ({"image": "/etc/000000000001.jpg"}, "unsafe name"),
        ({"image": "http://images/000000000001.jpg"}, "unsafe name"),
        ({"conversations": []}, "no turns"),
        ({"conversations": {"from": "human"}}, "no turns"),
        ({"conversations": [HUMAN]}, "unanswered question"),
        ({"conversations": [GPT, HUMAN]}, "speakers out of order"),
        ({"conversations": [HUMAN, HUMAN]}, "speakers out of order"),
        ({"conversations": [HUMAN, {"from": "system", "value": "x"}]}, "unknown speaker"),
        ({"conversations": [HUMAN, "It is."]}, "unknown speaker"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": 3}]}, "no text"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": " "}]}, "empty turn"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": "A \ud83d."}]}, "not Unicode"),
        ({"conversations": [{"from": "human", "value": "<image>"}, GPT]}, "empty turn"),
        ({"conversations": [{"from": "human", "value": "What?"}, GPT]}, "bad image marker"),
        (
            {"conversations": [{"from": "human", "value": "<image> <image> x"}, GPT]},
            "bad image marker",
        ),
        ({"conversations": [{"from": "human", "value": "a <image> b"}, GPT]}, "bad image marker"),
    ],
)
def test_read_conversations_says_why_a_row_is_left_out(
    tmp_path: Path, folder: ImageFolder, change: dict[str, object], reason: str
) -> None:
    file = write_json(tmp_path / "rows.json", [llava_row(1), {**llava_row(2), **change}])

    found = read_conversations([file], folder)

    assert [row.image_id for row in found.rows] == [1]
    assert [item.reason for item in found.excluded] == [reason]
    assert found.excluded[0].detail.startswith("rows.json[1]")


@pytest.mark.parametrize("change", [{}, {"image": None}])
def test_read_conversations_takes_text_without_an_image(
    tmp_path: Path, folder: ImageFolder, change: dict[str, object]
) -> None:
    html = {"conversations": [{"from": "human", "value": "Is <image> SVG?"}, GPT]}
    rows = [{**row, **change} for row in (text_row(1), text_row(1), {**text_row(1), **html})]
    file = write_json(tmp_path / "rows.json", rows)

    found = read_conversations([file], folder)

    assert [(row.image_id, row.path) for row in found.rows] == [(None, None)] * 2
    assert found.rows[0].turns == (Turn("What is 1 and one?", "It is 2."),)
    assert found.rows[0].key == document_key("What is 1 and one?\nIt is 2.")
    assert found.rows[1].turns[0].question == "Is <image> SVG?"
    assert [item.reason for item in found.excluded] == ["duplicate row"]


def test_texts_do_not_hide_that_every_image_is_missing(tmp_path: Path, folder: ImageFolder) -> None:
    file = write_json(tmp_path / "rows.json", [text_row(1), llava_row(77)])

    with pytest.raises(DataError, match=r"No image of rows\.json is on disk"):
        read_conversations([file], folder)


def test_read_conversations_keeps_equal_rows_once(tmp_path: Path, folder: ImageFolder) -> None:
    file = write_json(tmp_path / "rows.json", [llava_row(1), llava_row(1)])

    found = read_conversations([file], folder)

    assert len(found.rows) == 1
    assert [item.reason for item in found.excluded] == ["duplicate row"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (coco_content(), "is a COCO annotation file"),
        ([], "is no list of rows with `conversations`"),
        ({"a": 1}, "is no list of rows with `conversations`"),
    ],
)
def test_read_conversations_refuses_other_files(
    tmp_path: Path, folder: ImageFolder, content: object, match: str
) -> None:
    with pytest.raises(DataError, match=match) as caught:
        read_conversations([write_json(tmp_path / "rows.json", content)], folder)

    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_read_conversations_names_the_first_image_tried(
    tmp_path: Path, folder: ImageFolder
) -> None:
    file = write_json(tmp_path / "rows.json", [llava_row(77)])

    with pytest.raises(DataError, match=r"first one tried is .*000000000077\.jpg") as caught:
        read_conversations([file], folder)

    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_read_conversations_reads_the_real_samples(shared_data: Path) -> None:
    folder = ImageFolder.scan(shared_data / "coco" / "images")

    derived = read_conversations([shared_data / "instruct" / "derived_from_coco.json"], folder)
    bench = read_conversations(
        [shared_data / "instruct" / "llava_bench_coco_as_instruct.json"], folder
    )

    assert (len(derived.rows), len(derived.excluded)) == (610, 0)
    assert len(bench.rows) + len(bench.excluded) == 84
    assert Counter(item.reason for item in bench.excluded).keys() == {"missing image"}
