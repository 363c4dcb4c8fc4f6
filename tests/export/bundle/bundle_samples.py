"""What the tests of a bundle's folder share: two bundles' files, and one export."""

from pathlib import Path

from export.bundle.directory import BundleDirectory
from pipeline.files.own_files import LIST

NEW = {"report.json": '{"made_by": "new"}', "golden/input_0.bin": "new"}
OLD = {"report.json": '{"made_by": "old"}', "model_card.md": "old"}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str]:
    """Path -> text of every file but the list of them."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in files.items() if name != LIST}


def beside(directory: BundleDirectory) -> set[str]:
    """What lies beside the bundle, apart from the lock."""
    parent = directory.path.parent
    return {path.name for path in parent.iterdir()} - {directory.path.name, ".export.lock"}


def export(directory: BundleDirectory, error: BaseException | None = None) -> None:
    with directory.open() as folder:
        assert read(folder) == {}
        fill(folder, NEW)
        if error:
            raise error


def read_if_there(folder: Path) -> dict[str, str] | None:
    return read(folder) if folder.exists() else None
