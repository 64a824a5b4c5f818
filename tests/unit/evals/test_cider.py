"""Parity with pycocoevalcap, and the quirks that its numbers depend on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phiray.evals.cider import cider_d, idf_from_references, vectors_from_caption

CONSTANT = "a man is standing in front of a building"


def _reference(shared_data: Path) -> Any:  # JSON of mixed depth, used only in this file
    return json.loads((shared_data / "reference" / "caption_metrics.json").read_text())


def test_cider_d_equals_pycocoevalcap_on_each_real_image(shared_data: Path) -> None:
    data = _reference(shared_data)
    ids = [str(number) for number in data["image_ids"]]
    references = [data["references"][key] for key in ids]
    scores = cider_d(
        [data["hypotheses"][key] for key in ids],
        references,
        idf=idf_from_references(references),
    )
    gold = data["scores"]["cider_d_per_image"]
    np.testing.assert_allclose(scores, gold, rtol=0, atol=1e-9)
    assert scores.mean() == pytest.approx(data["scores"]["cider_d"], abs=1e-9)


def test_cider_d_equals_pycocoevalcap_for_a_constant_caption(shared_data: Path) -> None:
    data = _reference(shared_data)
    references = list(data["references"].values())
    scores = cider_d(
        [CONSTANT] * len(references),
        references,
        idf=idf_from_references(references),
    )
    assert scores.mean() == pytest.approx(data["constant_caption"]["cider_d"], abs=1e-9)


TOY_REFERENCES = [
    ["a cat sits on the mat", "a cat on a mat"],
    ["a dog runs in the park", "the dog is running"],
    ["two men ride bikes", "men riding bicycles on a road"],
]
TOY_HYPOTHESES = [
    "a cat sits on a mat",
    "a dog runs in a park",
    "two men riding bikes on a road",
]


def test_cider_d_of_the_toy_is_that_of_pycocoevalcap() -> None:
    scores = cider_d(TOY_HYPOTHESES, TOY_REFERENCES, idf=idf_from_references(TOY_REFERENCES))
    assert scores.mean() == pytest.approx(3.748711365735358, abs=1e-12)


def test_cider_d_does_not_depend_on_the_order_of_images_when_idf_is_frozen() -> None:
    idf = idf_from_references(TOY_REFERENCES)
    forward = cider_d(TOY_HYPOTHESES, TOY_REFERENCES, idf=idf)
    alone = [
        cider_d([hypothesis], [captions], idf=idf)[0]
        for hypothesis, captions in zip(TOY_HYPOTHESES, TOY_REFERENCES, strict=True)
    ]
    assert forward.tolist() == alone


def test_cider_d_of_one_image_with_its_own_idf_is_zero() -> None:
    references = [["a cat sits on the mat"]]
    assert cider_d(references[0], references, idf=idf_from_references(references))[0] == 0.0


def test_cider_d_of_two_images_with_identical_captions_is_ten() -> None:
    references = [["a cat sits on the mat"], ["two men ride some bikes"]]
    scores = cider_d(
        [captions[0] for captions in references], references, idf=idf_from_references(references)
    )
    np.testing.assert_allclose(scores, [10.0, 10.0])


def test_vectors_from_caption_count_length_in_bigrams() -> None:
    idf = idf_from_references(TOY_REFERENCES)
    assert vectors_from_caption("", idf).num_bigrams == 0
    assert vectors_from_caption("cat", idf).num_bigrams == 0
    assert vectors_from_caption("a b a b", idf).num_bigrams == 3


def test_cider_d_of_an_empty_caption_is_zero() -> None:
    idf = idf_from_references(TOY_REFERENCES)
    assert cider_d([""], TOY_REFERENCES[:1], idf=idf).tolist() == [0.0]
