"""The files of the page, read once at the start."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.class_names import shown
from pipeline.page.answering import page_files
from serving.answers import Network
from serving.server import Content

ASK = Path(__file__).parent / "page" / "ask.js"

FOOTER = (
    "Milliseconds are those of the network for this one image on this machine, decoding and resizing aside. "
    "The brighter a part, the more of it speaks for the class (Grad-CAM). Images stay on this machine: they "
    "go from this page to the command that serves it, which writes none to a disk."
)

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def read_page_files(title: str, networks: Sequence[Network]) -> dict[str, Content]:
    """Read the page: path -> what a browser gets.

    Args:
        title: what the user calls the model.
        networks: who answers.
    """
    first = networks[0].classifier
    answering = {
        network.name: f"{network.path.name}, {network.path.stat().st_size / 1024:,.1f} KiB"
        for network in networks
    }
    files = page_files(
        shown(os.fsencode(title)),
        answering,
        classes=len(first.class_names),
        image_size=first.image_size,
        footer=FOOTER,
    )
    files["ask.js"] = ASK.read_bytes()
    contents = {
        f"/{name}": Content(f"{MEDIA_TYPES[Path(name).suffix]}; charset=utf-8", content)
        for name, content in files.items()
    }
    contents["/"] = contents.pop("/index.html")
    return contents
