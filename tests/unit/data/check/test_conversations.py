from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiray.data.check.conversations import ConversationCheck
from phiray.data.check.report import CheckReport
from phiray.data.sources.conversations import read_conversations
from phiray.errors import DataError
from phiray.images.paths import ImageFolder
from tests.image_builders import coco_content, file_name, llava_row, write_images, write_json


def check(files: list[Path], folder: ImageFolder, *, is_partial: bool = False) -> CheckReport:
    report = CheckReport()
    ConversationCheck(folder, report, is_partial=is_partial).read(files, progress=None)
    return report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    return ImageFolder.scan(write_images(tmp_path_factory.mktemp("images"), num_images=3))


def test_check_counts_each_kind_with_its_row(tmp_path: Path, folder: ImageFolder) -> None:
    human, gpt = {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A box."}
    turns = {
        "no turns": [],
        "unanswered question": [human],
        "speakers out of order": [gpt, human],
        "unknown speaker": [human, {"from": "assistant", "value": "x"}],
        "bad image marker": [{"from": "human", "value": "<image> <image>"}, gpt],
        "empty turn": [human, {"from": "gpt", "value": " "}],
    }
    rows: list[object] = [llava_row(1), llava_row(1), llava_row(2)]
    rows += [{**llava_row(3), "conversations": conversation} for conversation in turns.values()]
    rows += [
        {**llava_row(3), "image": "../../x.jpg"},
        {**llava_row(3), "image": "000000000099.jpg"},
    ]
    rows += [{**llava_row(3), "conversations": [human, {"from": "gpt", "value": "<|endoftext|>"}]}]

    report = check([write_json(tmp_path / "rows.json", rows)], folder)

    wanted = dict.fromkeys([*turns, "unsafe name", "missing image"], 1)
    assert {kind: tally.count for kind, tally in report.findings.items()} == wanted
    assert {kind: tally.places for kind, tally in report.notes.items()} == {
        "conversation with a special token": ["rows.json[11]"],
        "duplicate row": ["rows.json[1]"],
    }
    assert report.findings["unsafe name"].places[0].startswith("rows.json[9]: ")
    assert report.totals == {"conversations": 12}


def test_check_of_a_part_notes_missing_images(tmp_path: Path, folder: ImageFolder) -> None:
    file = write_json(tmp_path / "rows.json", [llava_row(1), llava_row(9)])

    assert check([file], folder).findings["missing image"].count == 1
    assert check([file], folder, is_partial=True).notes["missing image"].count == 1


@pytest.mark.parametrize("content", [coco_content(), [], [1], {"a": [llava_row(1)]}])
def test_check_names_files_of_another_kind(
    tmp_path: Path, folder: ImageFolder, content: object
) -> None:
    report = check([write_json(tmp_path / "rows.json", content)], folder)

    assert "is no list of rows" in report.findings["unusable file"].places[0]


ODD: st.SearchStrategy[object] = st.one_of(
    st.none(), st.integers(-3, 9), st.text(max_size=3), st.floats(), st.just({})
)
SAID = (
    st.sampled_from(["<image>\nWhat?", "What?\n<image>", "A box.", "<image>", " ", "\ud800"]) | ODD
)
UTTERANCE = ODD | st.fixed_dictionaries(
    {}, optional={"from": st.sampled_from(["human", "gpt"]) | ODD, "value": SAID}
)
NAME = st.sampled_from([file_name(1), f"coco/train2017/{file_name(2)}", "../x.jpg", "x.jpg"]) | ODD
ROW = ODD | st.fixed_dictionaries(
    {}, optional={"image": NAME, "conversations": st.lists(UTTERANCE, max_size=4) | ODD}
)


@settings(deadline=None, max_examples=200)
@given(rows=st.lists(ROW, max_size=6))
def test_check_refuses_what_training_leaves_out(
    tmp_path_factory: pytest.TempPathFactory, folder: ImageFolder, rows: list[object]
) -> None:
    """Reason by reason, and neither meets an error that it does not know."""
    file = write_json(tmp_path_factory.mktemp("fuzz") / "rows.json", [llava_row(1), *rows])

    try:
        trained = read_conversations([file], folder)
    except DataError:
        assert check([file], folder).findings["unusable file"].count == 1
        return
    report = check([file], folder)

    left_out = Counter(item.reason for item in trained.excluded)
    assert len(trained.rows) + len(trained.excluded) == 1 + len(rows)
    repeated = left_out.pop("duplicate row", 0)
    assert {kind: tally.count for kind, tally in report.findings.items()} == dict(left_out)
    assert (
        report.notes["duplicate row"].count if "duplicate row" in report.notes else 0
    ) == repeated
