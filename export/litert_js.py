"""LiteRT.js, which computes in a browser: where npm put it, and what of it a page needs."""

import shutil
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.files.whole import write_text

INSTALL = "npm install @litertjs/core@2.5.3"
"""What was tried."""

MODULES = {"@litertjs/core": "core.js", "@litertjs/wasm-utils": "wasm-utils.js"}
"""JavaScript that is imported by name -> its file in a page's `litert/`."""

WASM = (
    "litert_wasm_internal.js",
    "litert_wasm_internal.wasm",
    # Where a browser has no relaxed SIMD.
    "litert_wasm_compat_internal.js",
    "litert_wasm_compat_internal.wasm",
)

NOTICE = """\
LiteRT.js {version} (@litertjs/core and @litertjs/wasm-utils of npm), Google LLC, Apache License 2.0:
https://github.com/google-ai-edge/LiteRT
"""


def find_runtime(node_modules: Path) -> dict[str, Path]:
    """Find the files of LiteRT.js: name in a page's `litert/` -> where it is now.

    Raises:
        UserError: one is missing.
    """
    files = {name: node_modules / module / "dist" / "index.js" for module, name in MODULES.items()}
    files |= {name: node_modules / "@litertjs/core/wasm" / name for name in WASM}
    for path in (*files.values(), _package(node_modules)):
        if not path.is_file():
            raise UserError(f"--web must name the node_modules of `{INSTALL}`; {path} is missing")
    return files


def read_version(node_modules: Path) -> str:
    """Read which LiteRT.js it is.

    Raises:
        UserError: its `package.json` cannot be read.
    """
    version: str = read_json(_package(node_modules), {"version": str}, of="LiteRT.js")["version"]
    return version


def copy_runtime(node_modules: Path, folder: Path) -> None:
    """Copy LiteRT.js, and say whose it is, into a new folder."""
    folder.mkdir()
    for name, path in find_runtime(node_modules).items():
        shutil.copyfile(path, folder / name)
    write_text(folder / "NOTICE.txt", NOTICE.format(version=read_version(node_modules)))


def _package(node_modules: Path) -> Path:
    return node_modules / "@litertjs/core/package.json"
