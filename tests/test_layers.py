"""The architecture: which part may import which."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTER = {"tuning", "export", "evaluation", "benchmarks", "train", "tests"}
LIGHT = (
    "architectures",
    "config",
    "sections",
    "settings",
    "presets",
    "errors",
    "command_line",
    "run_directory",
    "progress",
    "quiet_start",
)
"""Modules of `pipeline` that answer before TensorFlow is loaded."""
LIGHT_OUTSIDE = {
    "export": ("__main__", "command_line", "errors", "formats"),
    "tuning": (
        "__main__", "command_line", "limits", "narrowing", "plan", "results", "search_directory",
        "search_space", "workers",
    ),
    "evaluation": ("__main__", "command_line"),
}  # fmt: skip
"""The same of the other commands."""
OFFERED_BY_EXPORT = {"preview", "benchmark", "formats", "gate", "graph", "litert"}
"""What other parts may use of the export."""
HEAVY = {
    "tensorflow", "keras", "tensorflow_datasets", "matplotlib", "sklearn", "numpy",
    "ai_edge_litert", "tflite_micro", "keras_tuner", "scipy", "tensorboard", "jinja2",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Dotted names of what a file imports at its top level."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", files("pipeline"), ids=str)
def test_the_pipeline_imports_nothing_above_it(path):
    assert not roots(path) & OUTER


@pytest.mark.parametrize("path", files("pipeline"), ids=str)
def test_only_training_assembles(path):
    assembling = {"pipeline.training", "pipeline.training_run", "pipeline.assembly"}
    if path.stem not in {"training", "training_run", "assembly"}:
        assert not imports(path) & assembling


@pytest.mark.parametrize(
    "path", [*files("pipeline/models"), ROOT / "pipeline/optimization.py"], ids=str
)
def test_networks_and_optimization_are_backend_neutral(path):
    assert "tensorflow" not in roots(path)
    inside = {name for name in imports(path) if name.startswith("pipeline")}
    assert all(
        name.startswith(
            ("pipeline.models", "pipeline.architectures", "pipeline.sections", "pipeline.errors")
        )
        for name in inside
    )


@pytest.mark.parametrize("name", LIGHT)
def test_what_answers_at_once_does_not_import_tensorflow(name):
    assert not roots(ROOT / f"pipeline/{name}.py") & HEAVY


@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, names in LIGHT_OUTSIDE.items() for name in names]
)
def test_what_answers_before_a_command_does_not_import_tensorflow(part, name):
    path = ROOT / f"{part}/{name}.py"
    assert not roots(path) & HEAVY
    inside = {name.split(".")[1] for name in imports(path) if name.startswith(f"{part}.")}
    assert inside <= set(LIGHT_OUTSIDE[part])


@pytest.mark.parametrize("path", files("export"), ids=str)
def test_the_export_imports_nothing_beside_or_above_it(path):
    assert not roots(path) & (OUTER - {"export"})


@pytest.mark.parametrize("path", [*files("tuning"), *files("evaluation")], ids=str)
def test_parts_beside_the_export_import_only_what_it_offers(path):
    own = path.relative_to(ROOT).parts[0]
    assert not roots(path) & (OUTER - {own, "export"})
    used = {name.split(".")[1] for name in imports(path) if name.startswith("export.")}
    assert used <= OFFERED_BY_EXPORT


def test_latency_is_measured_without_tensorflow():
    for name in ("benchmark", "litert"):
        assert not roots(ROOT / f"export/{name}.py") & {"tensorflow", "keras"}


def test_only_the_adapter_calls_the_converter():
    for path in files("export"):
        used = {name for name in imports(path) if name.startswith("tensorflow.lite")}
        assert not used or path.stem == "converter"
        assert "TFLiteConverter" not in path.read_text() or path.stem == "converter"


def test_what_runs_on_a_device_stands_alone():
    allowed = {*sys.stdlib_module_names, "numpy", "PIL", "ai_edge_litert"}
    assert roots(ROOT / "export/device/run.py") <= allowed


@pytest.mark.parametrize("path", files("pipeline/data"), ids=str)
def test_data_knows_nothing_of_models_and_fit(path):
    inside = {name.split(".")[1] for name in imports(path) if name.startswith("pipeline.")}
    assert inside <= {
        "config",
        "sections",
        "settings",
        "data",
        "errors",
        "progress",
        "run_directory",
    }


def test_every_requirement_is_imported_or_says_who_imports_it():
    imported = set().union(
        *(
            roots(p)
            for f in ("pipeline", "export", "tuning", "evaluation", "tests", "benchmarks")
            for p in files(f)
        )
    )
    lazily = {
        name.partition(".")[0]
        for folder in ("pipeline", "export")
        for path in files(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        )
    }
    module = {
        "scikit-learn": "sklearn",
        "pillow": "PIL",
        "ai-edge-litert": "ai_edge_litert",
        "tflite-micro": "tflite_micro",
        "tensorflow-datasets": "tensorflow_datasets",
        "keras-tuner": "keras_tuner",
    }
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        requirement, _, reason = line.partition("#")
        if requirement.strip():
            name = requirement.strip().partition(">")[0]
            assert reason.strip(), name
            assert module.get(name, name) in imported | lazily or "imported by" in reason, name
