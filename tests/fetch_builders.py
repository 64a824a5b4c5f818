"""Small things to fetch, and somebody who listens."""

import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from phiray.fetch.client import Patience
from phiray.fetch.workplace import Workplace, open_workplace
from tests.fetch_server import QUICK, Answer, FaultyServer


@dataclass
class Listener:
    """Remembers what it is told."""

    notes: list[str] = field(default_factory=list)
    shown: list[tuple[str, int, int]] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, description: str, done: int, total: int) -> None:
        self.shown.append((description, done, total))


def workplace_at(
    folder: Path,
    server: FaultyServer,
    *,
    listener: Listener | None = None,
    patience: Patience = QUICK,
) -> AbstractContextManager[Workplace]:
    """Open a folder whose files may come from the server on this machine alone."""
    heard = listener or Listener()
    return open_workplace(
        folder, places=(server.url,), patience=patience, progress=heard.progress, note=heard.note
    )


def noise(num_bytes: int, *, seed: int = 0) -> bytes:
    """Return bytes of which no part looks like another."""
    blocks = (sha256(f"{seed}:{n}".encode()).digest() for n in range(-(-num_bytes // 32)))
    return b"".join(blocks)[:num_bytes]


def picture(image_id: int) -> bytes:
    """Return what begins as a JPEG does."""
    return b"\xff\xd8\xff" + noise(2_000 + image_id, seed=image_id)


def hash_of(body: bytes) -> str:
    return sha256(body).hexdigest()


def zip_of(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            member = zipfile.ZipInfo(name)  # of 1980, so that it is the same zip each time
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, body)
    return stream.getvalue()


def captions_of(image_ids: list[int], *, without: tuple[int, ...] = ()) -> bytes:
    """Return a COCO caption file; images in `without` have no caption."""
    return json.dumps(
        {
            "images": [
                {"id": n, "file_name": image_name(n), "height": 1, "width": 1} for n in image_ids
            ],
            "annotations": [
                {"id": n, "image_id": n, "caption": f"picture {n}"}
                for n in image_ids
                if n not in without
            ],
        }
    ).encode()


def image_name(image_id: int) -> str:
    return f"{image_id:012}.jpg"


def serve_repository(
    server: FaultyServer, repository: str, files: Mapping[str, bytes], *, commit: str = "c" * 40
) -> dict[str, str]:
    """Answer as the Hub does for a data set; return the path of each file on the server.

    Large files are sent from another path, as the Hub sends them from its stores.
    """
    siblings = [{"rfilename": "README.md", "size": 3, "blobId": "0" * 40}]
    paths = {}
    for name, body in files.items():
        lfs = {"sha256": hash_of(body), "size": len(body), "pointerSize": 134}
        siblings.append({"rfilename": name, "size": len(body), "blobId": "0" * 40, "lfs": lfs})
        paths[name] = f"/store/{commit[:4]}/{name}"
        server.files[paths[name]] = body
        resolve = f"/datasets/{repository}/resolve/{commit}/{name}"
        server.answers[resolve] = [Answer(302, headers={"Location": paths[name]})] * 50
    listing = {"id": repository, "sha": commit, "siblings": siblings}
    server.files[f"/api/datasets/{repository}"] = json.dumps(listing).encode()
    return paths
