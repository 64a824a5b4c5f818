import pytest

from phiray.images.decode import decode_pixels
from phiray.images.oddities import ODDITIES, oddities_of
from tests.image_builders import encoded_image
from tests.odd_images import ODD


@pytest.mark.parametrize("name", ODD)
def test_oddities_of_names_each_kind(name: str) -> None:
    kind, build = ODD[name]
    data = build()
    suffix = ".jpg" if "JPEG" in name or "named" in name else f".{name.split()[-1].lower()}"

    found = oddities_of(data, suffix=suffix)

    assert kind in found
    assert set(found) <= {kind, "grayscale"}
    decode_pixels(data)  # all of them can be used


def test_every_oddity_has_a_file_that_shows_it() -> None:
    assert {kind for kind, _ in ODD.values()} == set(ODDITIES)


@pytest.mark.parametrize(
    ("format", "suffix"), [("JPEG", ".JPG"), ("JPEG", ".jpeg"), ("WEBP", ".webp")]
)
def test_oddities_of_a_plain_picture_are_none(format: str, suffix: str) -> None:
    assert oddities_of(encoded_image(3, format=format), suffix=suffix) == []
