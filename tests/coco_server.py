"""COCO in small, on a server on this machine: two archives of images, one of captions."""

import re
from dataclasses import dataclass

from phiray.fetch.sources import CocoSource, RemoteArchive, RemoteFile
from tests.fetch_builders import captions_of, hash_of, image_name, picture, zip_of
from tests.fetch_server import FaultyServer

TRAIN_IDS = tuple(range(1, 41))
VAL_IDS = tuple(range(101, 106))
ANNOTATIONS = "/annotations/annotations.zip"
TRAIN = "/zips/train2017.zip"
VAL = "/zips/val2017.zip"


@dataclass(frozen=True)
class SmallCoco:
    """The source, and the bytes that should end up where."""

    source: CocoSource
    expected: dict[str, bytes]


def serve_coco(server: FaultyServer) -> SmallCoco:
    """Put it on the server; each image also lies there by itself."""
    train = {f"train2017/{image_name(n)}": picture(n) for n in TRAIN_IDS}
    val = {f"val2017/{image_name(n)}": picture(n) for n in VAL_IDS}
    captions = {
        "annotations/captions_train2017.json": captions_of(list(TRAIN_IDS)),
        "annotations/captions_val2017.json": captions_of(list(VAL_IDS)),
    }
    server.files |= {f"/{name}": body for name, body in (train | val).items()}
    server.files[ANNOTATIONS] = zip_of({**captions, "annotations/instances_val2017.json": b"{}"})
    server.files[TRAIN] = zip_of(train)
    server.files[VAL] = zip_of(val)
    jpeg = r"(?P<name>\d{12}\.jpg)"
    source = CocoSource(
        places=(server.url,),
        annotations=_archive(
            server, ANNOTATIONS, r"annotations/(?P<name>captions_\w+2017\.json)", "annotations"
        ),
        images=(
            _archive(server, VAL, f"val2017/{jpeg}", "images/val2017"),
            _archive(server, TRAIN, f"train2017/{jpeg}", "images/train2017"),
        ),
        captions="annotations/captions_train2017.json",
        image_url=f"{server.url}train2017/",
        image_folder="images/train2017",
        max_image_bytes=10**6,
        mean_image_bytes=2_000,
    )
    images = {f"images/{name}": body for name, body in (train | val).items()}
    return SmallCoco(source, {**captions, **images})


def _archive(server: FaultyServer, path: str, members: str, folder: str) -> RemoteArchive:
    body = server.files[path]
    url = f"{server.url}{path[1:]}"
    year = folder.rpartition("/")[2]
    return RemoteArchive(
        RemoteFile(
            url,
            path.rpartition("/")[2],
            max_bytes=len(body),
            num_bytes=len(body),
            sha256=hash_of(body),
        ),
        re.compile(members),
        folder,
        about_unpacked_bytes=len(body),
        max_unpacked_bytes=10**6,
        member_url=f"{server.url}{year}/" if folder.startswith("images/") else None,
    )
