"""The files of the page, read once at the start."""

import os
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import evaluation.page
from pipeline.data.class_names import shown
from serving.answers import Network
from serving.server import MAX_IMAGE_BYTES, Content

PAGE = Path(__file__).parent / "page"
REPORT_STYLE = Path(evaluation.page.__file__).with_name("style.css")
"""Colours, type and tables are those of a report."""


def read_page_files(title: str, networks: Sequence[Network]) -> dict[str, Content]:
    """Read the page: path -> what a browser gets.

    Args:
        title: what the user calls the model.
        networks: who answers.
    """
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("index.html.jinja").render(
        title=shown(os.fsencode(title)), networks=networks, max_bytes=MAX_IMAGE_BYTES
    )
    return {
        "/": Content("text/html; charset=utf-8", page.encode()),
        "/report.css": Content("text/css; charset=utf-8", REPORT_STYLE.read_bytes()),
        "/page.css": Content("text/css; charset=utf-8", (PAGE / "page.css").read_bytes()),
        "/page.js": Content("text/javascript; charset=utf-8", (PAGE / "page.js").read_bytes()),
    }
