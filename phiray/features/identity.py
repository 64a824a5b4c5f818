"""What features depend on beside the picture's bytes: the tower, and how bytes become its pixels.

    identity = identify(tower)      # plain JSON
    key_of(identity)                # names the folder of all features that were made so

Source: a change of the code that makes pixels, or of a library under it, shows in the pixels of two
small pictures that are made here: nobody has to remember to raise a number.
Limits: a difference that shows on neither picture, which cover JPEG, lossless, a shrunk and an
enlarged side, and an odd margin. Pixels may differ by a grey level between kinds of processors;
each kind then has features of its own.
"""

import base64
import hashlib
import io
import json

import numpy as np
import torch
from PIL import Image
from pydantic import JsonValue

from phiray.images.decode import decode_image
from phiray.models.interface import FeatureTower

FORMAT = 1
"""To be raised when files of the cache change their meaning."""

Identity = dict[str, JsonValue]

_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVG"
    "ZIhlbXd7gYKBTmCNl4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8"
    "fHx8fHx8fHx8fHx8fHx8fHx8fHz/wAARCAATABsDASIAAhEBAxEB/8QAFwAAAwEAAAAAAAAAAAAAAAAAAAMEBf/EAB8Q"
    "AAIBBAIDAAAAAAAAAAAAAAABAgMEIWERURNxgf/EABgBAAIDAAAAAAAAAAAAAAAAAAMEAQIF/8QAHhEAAgICAgMAAAAA"
    "AAAAAAAAAAQBAgMREjIFIXH/2gAMAwEAAhEDEQA/AMFW2hsLbRrK00MhaaBttW5ELZiClbaK422FgvpWmiCvQ8taU0sN"
    "49BU89779j2Z+F6xOt7NdQj0NhCPQAJN9jAWHuKVGo0uGovh/CBQjwsAA0h1kp5CZ5V+H//Z"
)
"""27 x 19 pixels, 4:2:0, by Pillow 13: `x * 9 + y * 3` and two other patterns, modulo 256."""


def identify(tower: FeatureTower) -> Identity:
    """Say all that the tower's features depend on beside a picture's bytes."""
    return {
        "format": FORMAT,
        "tower": tower.describe(),
        "weights": hash_weights(tower.state_dict()),
        "pixels": hash_pixels(tower.image_size),
    }


def key_of(identity: Identity) -> str:
    """Return the hash that names features of this identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def hash_weights(tensors: dict[str, torch.Tensor]) -> str:
    """Hash names, types, shapes and bytes of tensors, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{plain.dtype}:{tuple(plain.shape)};".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_pixels(image_size: int) -> str:
    """Hash the pixels that two known pictures become."""
    digest = hashlib.sha256()
    for data in (_JPEG, _lossless(image_size)):
        digest.update(decode_image(data, image_size=image_size).tobytes())
    return digest.hexdigest()


def _lossless(image_size: int) -> bytes:
    """Draw a picture that is larger than the tower's in both directions, with an odd margin."""
    y, x = np.mgrid[0 : image_size + image_size // 2 + 1, 0 : 2 * image_size + 3]
    layers = [x * 7 + y, y * 13 + x * y // 8, (x - y) ** 2 // 5]
    picture = Image.fromarray((np.stack(layers, axis=-1) % 256).astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
