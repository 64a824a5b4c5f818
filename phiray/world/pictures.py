"""Draw a scene as a small JPEG.

Limits: flat shapes on a pale, slightly grainy ground; about 2 ms a picture.
"""

import io
import math
import random

from PIL import Image, ImageDraw

from phiray.world.scenes import Scene, Thing

RGB = tuple[int, int, int]
COLOUR_VALUES: dict[str, RGB] = {
    "red": (215, 25, 30),
    "green": (25, 150, 50),
    "blue": (25, 60, 215),
    "yellow": (245, 215, 25),
    "purple": (125, 30, 160),
    "brown": (125, 75, 30),
    "pink": (250, 130, 190),
    "black": (20, 20, 20),
}
RADIUS_FRACTIONS = {"large": 0.16, "small": 0.085}
"""Half the width of a shape, as a share of the picture's side."""
MIDDLES = {"top": (0.5, 0.18), "left": (0.18, 0.5), "right": (0.82, 0.5), "bottom": (0.5, 0.82)}
"""Where a thing stands, as shares (across, down) of the side; neighbours are 0.45 apart."""
JITTER_FRACTION = 0.01
OVERSAMPLING = 4
JPEG_QUALITY = 92
GROUND_RANGE = (225, 252)


def picture_bytes(scene: Scene, rng: random.Random, *, image_size: int) -> bytes:
    """Draw the scene, anti-aliased, and return the JPEG file's bytes.

    Args:
        scene: what to show.
        rng: source of the ground's tint and of small shifts; the same state gives the same bytes.
        image_size: side of the square picture, in pixels.
    """
    side = image_size * OVERSAMPLING
    ground = tuple(rng.randint(*GROUND_RANGE) for _ in range(3))
    image = Image.new("RGB", (side, side), ground)
    draw = ImageDraw.Draw(image)
    for thing in scene.things:
        _draw_thing(draw, thing, rng=rng, side=side)
    small = image.resize((image_size, image_size), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _draw_thing(draw: ImageDraw.ImageDraw, thing: Thing, *, rng: random.Random, side: int) -> None:
    x, y = (fraction * side for fraction in MIDDLES[thing.place])
    x += rng.uniform(-JITTER_FRACTION, JITTER_FRACTION) * side
    y += rng.uniform(-JITTER_FRACTION, JITTER_FRACTION) * side
    radius = RADIUS_FRACTIONS[thing.size] * side
    fill = COLOUR_VALUES[thing.colour]
    if thing.shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        return
    outline = [(x + radius * dx, y + radius * dy) for dx, dy in OUTLINES[thing.shape]]
    draw.polygon(outline, fill=fill)


def _star() -> list[tuple[float, float]]:
    corners = []
    for index in range(10):
        reach = 1.1 if index % 2 == 0 else 0.45
        angle = math.pi * (index / 5 - 0.5)
        corners.append((reach * math.cos(angle), reach * math.sin(angle)))
    return corners


def _cross(arm: float) -> list[tuple[float, float]]:
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm), (1.0, arm), (arm, arm), (arm, 1.0)]
    return quarter + [(-x, -y) for x, y in quarter]


OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "triangle": [(0.0, -1.0), (1.0, 0.9), (-1.0, 0.9)],
    "star": _star(),
    "cross": _cross(0.32),
}
"""Corners around the middle, in units of the radius."""
