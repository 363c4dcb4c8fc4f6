"""The page that takes images and shows answers, whoever gives them."""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent

STYLE = FOLDER / "style.css"
"""Colours, type and tables of every page."""

MAX_IMAGE_BYTES = 2**25
"""Largest file that a page takes."""


def page_files(
    title: str,
    networks: Mapping[str, str],
    *,
    classes: int,
    image_size: int,
    footer: str,
    modules: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Build the page, all but `ask.js`, which says where answers come from: name -> content.

    Args:
        title: what the user calls the model.
        networks: who answers: name -> the rest of the line.
        classes: that are told apart.
        image_size: height and width of what the networks see, pixels.
        footer: what an answer is, and where images go.
        modules: that scripts import by name: name -> address.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("index.html.jinja").render(
        title=title,
        networks=networks,
        classes=classes,
        image_size=image_size,
        footer=footer,
        modules=modules,
        max_bytes=MAX_IMAGE_BYTES,
    )
    files = {name: (FOLDER / name).read_bytes() for name in ("style.css", "page.css", "page.js")}
    return {"index.html": page.encode(), **files}
