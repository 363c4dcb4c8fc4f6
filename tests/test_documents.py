"""The documents: what they name is there, and the README is short."""

import re
from pathlib import Path

import pytest

from tests.commands import ROOT

README_LINES = 200

DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "ready" / "README.md",
]

LINK = re.compile(r"""\]\(([^)\s]+)\)|src="([^"]+)\"""")
"""Target of a Markdown link or image, or of an HTML image."""

FOLDERS = (
    *("pipeline", "export", "tuning", "evaluation", "serving", "benchmarks", "tests", "docs"),
    *("\\.github", "\\.ci"),
)

PATH = re.compile(rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w/?)")
"""A path of the repository in running text, in backticks or in a drawing."""

MODULE_FILE = re.compile(r"(?<![\w./-])(\w+\.py)\b")
"""A file that is named without its folder."""

MODULE = re.compile(r"python -m ([a-z0-9_.]*[a-z0-9_])")

OF_OTHERS = {"pip", "pytest", "http.server"}
"""Modules of others that a document has its reader run."""

TO_BE_WRITTEN = {"ask.py", "classify.py"}
"""Programs that a document has in full."""


def words_of(document: Path) -> str:
    """The text of a document without the addresses of links, which have a test of their own."""
    return re.sub(r"https?://\S+", "", LINK.sub("", document.read_text()))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document):
    targets = ["".join(groups).partition("#")[0] for groups in LINK.findall(document.read_text())]
    relative = [target for target in targets if target and "://" not in target]
    assert [target for target in relative if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_of_the_repository_is_there(document):
    assert [path for path in PATH.findall(words_of(document)) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_is_named_without_its_folder_is_there(document):
    parts = [
        ROOT / folder for folder in ("pipeline", "export", "tuning", "evaluation", "serving", "benchmarks")
    ]
    there = {path.name for part in parts for path in part.rglob("*.py")} | {"train.py", "predict.py"}
    assert set(MODULE_FILE.findall(words_of(document))) <= there | TO_BE_WRITTEN


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_there(document):
    own = set(MODULE.findall(document.read_text())) - OF_OTHERS
    places = [ROOT / module.replace(".", "/") for module in own]
    assert [path for path in places if not (path.is_dir() or path.with_suffix(".py").is_file())] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES
