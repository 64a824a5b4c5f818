"""Five true captions of a scene, and the COCO file that holds them.

Source: the schema of COCO's captions_train2017.json.
Limits: every caption names colour, shape and place of every thing, and no size: conversations ask
for that.
"""

import random
from collections.abc import Callable, Mapping
from typing import TypedDict

from phiray.world.scenes import Scene, Thing

CAPTIONS_PER_IMAGE = 5


class CocoImage(TypedDict):
    """One entry of `images`."""

    id: int
    file_name: str
    width: int
    height: int
    license: int


class CocoAnnotation(TypedDict):
    """One entry of `annotations`."""

    id: int
    image_id: int
    caption: str


class CocoCaptions(TypedDict):
    """A COCO caption file."""

    info: dict[str, str | int]
    licenses: list[dict[str, str | int]]
    images: list[CocoImage]
    annotations: list[CocoAnnotation]


def thing_phrase(thing: Thing) -> str:
    """Name a thing with its place, e.g. `a red circle at the top`."""
    return f"a {thing.colour} {thing.shape} at the {thing.place}"


def place_first_phrase(thing: Thing) -> str:
    """Name a thing with its place in front."""
    return f"at the {thing.place} a {thing.colour} {thing.shape}"


def listing(scene: Scene, phrase: Callable[[Thing], str] = thing_phrase) -> str:
    """Name all things in reading order, e.g. `a, b and c`."""
    phrases = [phrase(thing) for thing in scene.things]
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]]) if phrases[1:] else phrases[0]


def file_name(image_id: int) -> str:
    """Return COCO's name of an image file."""
    return f"{image_id:012d}.jpg"


def captions(scene: Scene, rng: random.Random) -> list[str]:
    """Return five different true captions, in random order."""
    full = listing(scene)
    forms = [
        f"Here is {full}.",
        f"There is {full}.",
        f"A picture of {full}.",
        f"The picture shows {full}.",
        f"We see {listing(scene, place_first_phrase)}.",
    ]
    rng.shuffle(forms)
    return forms


def coco_captions(texts: Mapping[int, list[str]], *, image_size: int) -> CocoCaptions:
    """Build the caption file from the captions of each image id."""
    annotations: list[CocoAnnotation] = []
    for image_id, image_captions in texts.items():
        for caption in image_captions:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "caption": caption}
            )
    images: list[CocoImage] = [
        {
            "id": image_id,
            "file_name": file_name(image_id),
            "width": image_size,
            "height": image_size,
            "license": 1,
        }
        for image_id in texts
    ]
    return {
        "info": {"description": "phiray's built-in pictures", "version": "1.0", "year": 2017},
        "licenses": [{"id": 1, "name": "Apache-2.0", "url": ""}],
        "images": images,
        "annotations": annotations,
    }
