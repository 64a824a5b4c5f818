import json
import random
import re
from pathlib import Path

from pycocotools.coco import COCO

from phiray.world.captions import CAPTIONS_PER_IMAGE, captions, coco_captions, listing
from phiray.world.scenes import Scene, Thing

RED = Thing(shape="circle", colour="red", size="large", place="top")
BLUE = Thing(shape="star", colour="blue", size="small", place="right")
PINK = Thing(shape="cross", colour="pink", size="small", place="bottom")


def test_listing_joins_one_two_and_three_things() -> None:
    red, blue = "a red circle at the top", "a blue star at the right"
    pink = "a pink cross at the bottom"

    assert listing(Scene((RED,))) == red
    assert listing(Scene((RED, BLUE))) == f"{red} and {blue}"
    assert listing(Scene((RED, BLUE, PINK))) == f"{red}, {blue} and {pink}"


def test_captions_are_five_different_ones_that_name_every_attribute() -> None:
    scene = Scene((RED, BLUE, PINK))

    texts = captions(scene, random.Random(0))

    assert len(set(texts)) == CAPTIONS_PER_IMAGE
    for text in texts:
        for thing in scene.things:
            assert re.search(rf"a {thing.colour} {thing.shape}", text, re.IGNORECASE)
            assert f"at the {thing.place}" in text
        assert text[0].isupper()
        assert text.endswith(".")


def test_coco_captions_are_read_by_pycocotools(tmp_path: Path) -> None:
    file = tmp_path / "captions.json"
    file.write_text(json.dumps(coco_captions({7: ["one", "two"], 9: ["three"]}, image_size=64)))

    coco = COCO(str(file))

    assert coco.getImgIds() == [7, 9]
    assert coco.loadImgs([9])[0]["file_name"] == "000000000009.jpg"
    assert [note["caption"] for note in coco.loadAnns(coco.getAnnIds([7]))] == ["one", "two"]
