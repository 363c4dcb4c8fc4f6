"""The architecture: imports go down, from folder to folder, to what a folder offers."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.commands import ROOT

COMMANDS = ("train", "predict", "pipeline", "tuning", "evaluation", "export", "serving", "benchmarks")
"""Where the product's code stands, at the top of the repository."""


def module_name(path: Path) -> str:
    """Dotted name of a file; of `__init__.py` its package's."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    files = [
        ROOT / "train.py",
        ROOT / "predict.py",
        *(p for part in COMMANDS for p in (ROOT / part).rglob("*.py")),
    ]
    return {module_name(path): path for path in files}


def packages() -> list[str]:
    return [name for name, path in modules().items() if path.name == "__init__.py"]


@cache
def imports(name: str) -> frozenset[str]:
    """All that a module imports anywhere in it, under `TYPE_CHECKING` and in functions too."""
    found = set()
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {member if member in modules() else node.module for member in members}
    return frozenset(found)


def imports_inside(name: str) -> frozenset[str]:
    return imports(name) & modules().keys()


def verify_no_circle(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_modules_import_each_other_in_a_circle():
    verify_no_circle({name: imports_inside(name) - {name} for name in modules()})


@pytest.mark.parametrize("package", ["", *packages()])
def test_what_stands_in_a_folder_imports_one_way_down(package):
    """Each file and each folder in it counts as one: folders never import each other."""
    prefix = f"{package}." if package else ""

    def child(name: str) -> str | None:
        inside = name.startswith(prefix) and name != package
        return name.removeprefix(prefix).partition(".")[0] if inside else None

    graph: dict[str, set[str]] = {}
    for name in modules():
        if own := child(name):
            graph.setdefault(own, set()).update({child(used) for used in imports_inside(name)} - {own, None})
    assert graph
    verify_no_circle(graph)


@cache
def offered(package: str) -> frozenset[str]:
    """What a package's `__init__` names in `__all__`."""
    for node in ast.parse(modules()[package].read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return frozenset(ast.literal_eval(node.value))
    pytest.fail(f"{package}/__init__.py does not say in __all__ what others may use of it")


@pytest.mark.parametrize("name", modules())
def test_only_what_a_package_offers_is_used_from_outside(name):
    for used in imports_inside(name):
        parts = used.split(".")
        for depth in range(1, len(parts)):
            package = ".".join(parts[:depth])
            if not f"{name}.".startswith(f"{package}."):
                assert parts[depth] in offered(package), f"{package} does not offer {parts[depth]}"


@pytest.mark.parametrize("package", packages())
def test_what_a_package_offers_exists(package):
    tree = ast.parse(modules()[package].read_text())
    defined = {getattr(node, "name", None) for node in tree.body}
    defined |= {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    for name in offered(package):
        assert f"{package}.{name}" in modules() or name in defined


def test_what_answers_at_once_loads_no_library_that_takes_seconds():
    light = [
        name
        for name in modules()
        if name.startswith(("pipeline.config", "pipeline.console"))
        or (name.split(".")[-1] in ("request", "__main__", "train", "predict") and "pipeline" not in name)
    ]
    assert {"export.request", "tuning.request", "evaluation.request", "train", "predict"} <= set(light)
    heavy = {"tensorflow", "keras", "numpy", "matplotlib", "scipy", "sklearn", "PIL", "keras_tuner"}
    code = f"import sys, {', '.join(light)}; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def libraries(name: str) -> set[str]:
    return {used.partition(".")[0] for used in imports(name)} - set(COMMANDS)


def test_networks_and_optimization_are_backend_neutral():
    neutral = {f"pipeline.training.{name}" for name in ("optimization", "distillation")}
    neutral |= {n for n in modules() if n.startswith("pipeline.models")}
    reached: set[str] = set()
    while neutral - reached:
        name = (neutral - reached).pop()
        reached.add(name)
        neutral |= {used for used in imports_inside(name) if modules()[used].name != "__init__.py"}
    assert len(reached) > 8
    assert not {name for name in reached if "tensorflow" in libraries(name)} - FUSED


FUSED = {"pipeline.models.fused_norm", "pipeline.models.fast_gradient"}
"""Kernels of TensorFlow that replace Keras' own where there is a TensorFlow."""


def test_a_file_is_run_and_timed_without_tensorflow():
    inside = [name for name in modules() if name.startswith("pipeline.tflite.")]
    assert len(inside) >= 4
    assert not {name for name in inside if libraries(name) & {"tensorflow", "keras"}}


def test_only_the_converter_calls_the_converter():
    calling = {n for n in modules() if "TFLiteConverter" in modules()[n].read_text()}
    assert calling == {"export.convert.converter"}


def test_what_runs_on_a_device_stands_alone():
    packages = {"numpy", "PIL", "ai_edge_litert", "onnxruntime"}
    assert libraries("export.device.run") <= {*sys.stdlib_module_names, *packages}


def requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line.partition("#")[0].strip()]


@pytest.mark.parametrize("line", requirements())
def test_every_requirement_is_imported_or_says_who_imports_it(line):
    requirement, _, reason = line.partition("#")
    package = requirement.strip().partition(">")[0].replace("-", "_")
    module = {"scikit_learn": "sklearn", "pillow": "PIL"}.get(package, package)
    imported = set().union(*(libraries(name) for name in modules()))
    assert reason.strip()
    assert module in imported or "imported by" in reason or module == "pytest"
