"""Stand-ins for LiteRT.js, and an export that writes a page for it."""

import json
import os
from pathlib import Path

import pytest

from export import export as exporter
from export.litert_js import MODULES, WASM
from tests.quick_export import leave_out_micro, leave_out_timing

REAL = os.environ.get("LITERT_JS", "")
"""The `node_modules` of the real one, where it is installed."""

STAND_IN = """
// Answers golden vectors as their files say, and anything else with level 200 for class 3.
export class Tensor {
  constructor(values, shape) { Object.assign(this, { values, shape }); }
  delete() {}
}
export const loadLiteRt = async () => {};
const golden = new URL("../golden/", import.meta.url).href;
const bytes = async (name) => new Uint8Array(await (await fetch(`${golden}${name}.bin`)).arrayBuffer());
export async function loadAndCompile(content) {
  const known = await Promise.all([0, 1, 2, 3].map(async (n) =>
    ({ asked: String(await bytes(`input_${n}`)), answered: await bytes(`output_${n}`) })));
  return { run: async ([{ values }]) => {
    if (!(values instanceof Uint8Array)) throw new Error("LiteRT.js takes Uint8Array");
    const found = known.find(({ asked }) => asked === String(values));
    const answer = found ? found.answered : Uint8Array.from({ length: 10 }, (_, k) => (k === 3 ? 200 : 0));
    return [{ data: async () => answer, delete() {} }];
  } };
}
""".replace("[{ values }]", "{ values }")


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory) -> Path:
    """LiteRT.js as npm lays it out, but for what it does."""
    folder = tmp_path_factory.mktemp("npm") / "node_modules"
    for module in MODULES:
        (folder / module / "dist").mkdir(parents=True)
        (folder / module / "dist/index.js").write_text(STAND_IN)
    core = folder / "@litertjs/core"
    (core / "package.json").write_text(json.dumps({"version": "2.5.3"}))
    (core / "wasm").mkdir()
    for name in WASM:
        (core / "wasm" / name).write_text(name)
    return folder


@pytest.fixture(scope="session")
def bundle(export, digits_run, digits_float32, node_modules, tmp_path_factory) -> Path:
    """The finished run as an int8 file with a page; with the real LiteRT.js where there is one."""
    out = tmp_path_factory.mktemp("web") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        leave_out_timing(patch)
        leave_out_micro(patch)
        patch.setattr(exporter, "write_single_image_graph", lambda *_: None)
        patch.setattr(exporter.Converter, "float32", lambda _: digits_float32)
        outcome = export(
            digits_run, "--out", out, "--formats", "int8", "--max-drop", "5", "--web", REAL or node_modules
        )
    assert outcome.code == 0, outcome.error
    return out
