"""Ids that were trained on are refused, however their files were named."""

import pytest

from phiray.errors import DataError, ExitCode
from phiray.evals.contamination import check_contamination, check_document_contamination
from phiray.images.paths import image_id_from_name


def test_check_contamination_names_the_first_shared_ids() -> None:
    ledger = {"image": list(range(100, 200))}
    names = [f"COCO_val2014_{number:012d}.jpg" for number in (5, 100, 150, 199)]
    evaluated = [number for name in names if (number := image_id_from_name(name)) is not None]
    with pytest.raises(
        DataError, match="3 evaluated image ids were trained on: 100, 150, 199\\."
    ) as e:
        check_contamination(ledger, "image", evaluated)
    assert e.value.exit_code is ExitCode.BAD_DATA


def test_check_contamination_names_no_more_than_five() -> None:
    with pytest.raises(DataError, match="1, 2, 3, 4, 5, \\.\\.\\."):
        check_contamination({"image": list(range(9))}, "image", range(1, 9))


def test_check_contamination_counts_what_it_compared_with() -> None:
    assert check_contamination({"image": [1, 2]}, "image", [3]) == 2
    assert check_contamination({}, "image", [3]) == 0


def test_check_document_contamination_knows_books_and_documents() -> None:
    ledger: dict[str, list[int | str]] = {"book": [12, 13], "document": ["ab"]}
    assert check_document_contamination(ledger, ["book:14", "document:cd"]) == 3
    with pytest.raises(DataError, match="1 evaluated book ids were trained on: 13"):
        check_document_contamination(ledger, ["book:13"])
    with pytest.raises(DataError, match="1 evaluated document ids were trained on: ab"):
        check_document_contamination(ledger, ["document:ab"])
