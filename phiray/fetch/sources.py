"""The public data sets: where they come from, how large they are, and under which terms.

Source: sizes and sha256 of the COCO archives as in tensorflow/datasets
(url_checksums/coco.txt); images.cocodataset.org by the name of its bucket, which has a certificate;
file names of the Hub repositories as their pages listed them (RedPajama at commit 776f0cf, 11 files
of 5.4 GB; LLaVA-Instruct at 011f884); gutenberg.pglaf.org, which Project Gutenberg's list of
mirrors names as a fast one that holds the generated files.
Limits: written without a network: that the servers answer today as described was not seen here. A
server that does not is met with a message, never with wrong files.
"""

import re
from dataclasses import dataclass

from phiray.fetch.files import MB

NAMES = ("coco", "instruct", "gutenberg", "redpajama")


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, and what is known of it before it is asked for."""

    url: str
    path: str
    """Where it belongs, below the folder of its data set."""
    max_bytes: int
    """Larger ones are refused."""
    num_bytes: int | None = None
    """Exact size; None where only the server knows it."""
    sha256: str | None = None


@dataclass(frozen=True)
class RemoteArchive:
    """A zip on a server, and which of its members are wanted."""

    file: RemoteFile
    members: re.Pattern[str]
    """Of the names in it; the group `name` is the file's name in `folder`."""
    folder: str
    """Where the members belong, below the folder of the data set."""
    about_unpacked_bytes: int
    """For the look at the disk before anything is fetched."""
    max_unpacked_bytes: int
    """More is a bomb."""
    member_url: str | None = None
    """Where each member lies by itself, if it does."""


@dataclass(frozen=True)
class CocoSource:
    """COCO 2017: captions and images."""

    places: tuple[str, ...]
    annotations: RemoteArchive
    images: tuple[RemoteArchive, ...]
    captions: str
    """The file, below the folder of the data set, whose images a subset is chosen from."""
    image_url: str
    """Where those images lie one by one."""
    image_folder: str
    max_image_bytes: int
    mean_image_bytes: int


@dataclass(frozen=True)
class HubSource:
    """Files of a data set repository on the Hugging Face Hub."""

    places: tuple[str, ...]
    endpoint: str
    repository: str
    files: re.Pattern[str]
    """Which of its files are wanted, all at its top."""
    max_file_bytes: int


@dataclass(frozen=True)
class BookSource:
    """A mirror of Project Gutenberg."""

    places: tuple[str, ...]
    mirror: str
    max_book_bytes: int
    mean_book_bytes: int
    pause_seconds: float
    """Between two requests. Project Gutenberg asks robots for two seconds."""


_BUCKET = "https://s3.amazonaws.com/images.cocodataset.org/"
_JPEG = r"(?P<name>[0-9]{12}\.jpg)"
_TRAIN_BYTES = 19_336_861_798
_VAL_BYTES = 815_585_330

COCO = CocoSource(
    places=(_BUCKET,),
    annotations=RemoteArchive(
        RemoteFile(
            f"{_BUCKET}annotations/annotations_trainval2017.zip",
            "annotations_trainval2017.zip",
            max_bytes=252_907_541,
            num_bytes=252_907_541,
            sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        ),
        re.compile(r"annotations/(?P<name>captions_(?:train|val)2017\.json)"),
        "annotations",
        about_unpacked_bytes=100 * MB,
        max_unpacked_bytes=500 * MB,
    ),
    images=(
        RemoteArchive(
            RemoteFile(
                f"{_BUCKET}zips/val2017.zip",
                "val2017.zip",
                max_bytes=_VAL_BYTES,
                num_bytes=_VAL_BYTES,
                sha256="4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
            ),
            re.compile(f"val2017/{_JPEG}"),
            "images/val2017",
            about_unpacked_bytes=_VAL_BYTES,  # JPEGs do not shrink
            max_unpacked_bytes=1_200 * MB,
            member_url=f"{_BUCKET}val2017/",
        ),
        RemoteArchive(
            RemoteFile(
                f"{_BUCKET}zips/train2017.zip",
                "train2017.zip",
                max_bytes=_TRAIN_BYTES,
                num_bytes=_TRAIN_BYTES,
                sha256="69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
            ),
            re.compile(f"train2017/{_JPEG}"),
            "images/train2017",
            about_unpacked_bytes=_TRAIN_BYTES,
            max_unpacked_bytes=25_000 * MB,
            member_url=f"{_BUCKET}train2017/",
        ),
    ),
    captions="annotations/captions_train2017.json",
    image_url=f"{_BUCKET}train2017/",
    image_folder="images/train2017",
    max_image_bytes=20 * MB,
    mean_image_bytes=_TRAIN_BYTES // 118_287,
)

_HUB = "https://huggingface.co"
_HUB_PLACES = (f"{_HUB}/", "https://*.huggingface.co/", "https://*.hf.co/")
"""The Hub sends a large file from one of its stores, such as cas-bridge.xethub.hf.co."""

INSTRUCT = HubSource(
    places=_HUB_PLACES,
    endpoint=_HUB,
    repository="liuhaotian/LLaVA-Instruct-150K",
    # its other files hold the same conversations by kind, a part of them, or need more image sets
    files=re.compile(r"llava_instruct_150k\.json"),
    max_file_bytes=2_000 * MB,
)
REDPAJAMA = HubSource(
    places=_HUB_PLACES,
    endpoint=_HUB,
    repository="togethercomputer/RedPajama-Data-1T-Sample",
    files=re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\.jsonl"),
    max_file_bytes=5_000 * MB,
)

_MIRROR = "https://gutenberg.pglaf.org/"

GUTENBERG = BookSource(
    places=(_MIRROR,),
    mirror=_MIRROR,
    max_book_bytes=50 * MB,
    mean_book_bytes=600_000,
    pause_seconds=2.0,
)

LICENCES = {
    "coco": "COCO's captions are CC BY 4.0. Its images belong to users of Flickr, each under the "
    "licence that the captions' file names: https://cocodataset.org/#termsofuse.",
    "instruct": "LLaVA-Instruct-150K was written by GPT-4. Its card has named CC BY 4.0 and CC "
    "BY-NC 4.0; OpenAI's terms of use apply. Read the card: "
    "https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K.",
    "gutenberg": "The books are in the public domain in the USA; elsewhere the law of your country "
    "decides. Passing files on under Project Gutenberg's name takes its licence, which each file "
    "holds: https://www.gutenberg.org/policy/license.html.",
    "redpajama": "RedPajama's rows keep the licences of their sources (Common Crawl, C4, GitHub, "
    "arXiv, Wikipedia, Stack Exchange, books): "
    "https://huggingface.co/datasets/togethercomputer/RedPajama-Data-1T-Sample.",
}
