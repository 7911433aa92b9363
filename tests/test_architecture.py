"""The shape of the code: who imports whom, and what an import costs."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import terraloom
from terraloom import families

SOURCE = Path(terraloom.__file__).parent
# A module imports from its own line or lines above it, never below; a line may name a folder.
LAYERS = (
    ("errors", "types", "seeds"),
    ("files", "progress", "families", "classes", "png"),
    ("landscape", "raster"),
    ("engines", "retrying", "shapes"),
    ("tables", "samples", "runs", "arms", "ledger", "naming", "redundancy", "facts", "yardstick"),
    ("near_duplicates", "leak_probe"),
    ("caption_index",),
    ("claims", "caption_metrics"),
    ("settings", "settings_file"),
    ("sources",),
    ("dataset",),
    ("learning",),
    ("fidelity",),
    ("segmenters", "generators", "captioners"),
    ("segmenting", "layouts", "sample_plan", "image_to_text"),
    ("ensemble", "calibration", "label_noise", "imagetext", "monitoring"),
    ("watching",),
    ("scorers", "exporters", "prediction"),
    (
        "predicting",
        "generating",
        "labelling",
        "repairing",
        "caption_inputs",
        "captioning",
        "claiming",
        "scoring",
        "curation",
        "cards",
        "verdict",
        "importing",
    ),
    (
        "controls",
        "floors",
        "caption_comparison",
        "arm_rows",
        "relabelling",
        "judging",
        "joining",
        "usefulness",
        "caption_statistics",
        "caption_floors",
    ),
    ("caption_judging",),
    ("caption_joining",),
    ("benchmarking", "caption_benchmarking"),
    ("testing",),
    ("report",),
    ("auditing",),
    ("stages",),
    ("pipeline",),
    ("estimates", "demo", "trained"),
    ("cross_validation",),
    ("slice_study", "demand"),
    ("terminal",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Dotted names that a module imports anywhere, in functions and for types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    """Modules of terraloom that a module imports, without the package's name."""
    own = {name.removeprefix("terraloom.") for name in imports_of(path) if "terraloom." in name}
    known = {name_of(p) for p in MODULES}
    return {name for name in own if name in known}


def test_rasterio_is_imported_below_raster_only() -> None:
    importers = {
        name_of(path)
        for path in MODULES
        if any(name.split(".")[0] == "rasterio" for name in imports_of(path))
    }
    assert importers <= {
        "raster.block_checksums",
        "raster.geotiff",
        "raster.map_writing",
        "raster.remote",
    }


def test_every_module_stands_in_a_layer() -> None:
    tops = {name_of(path).split(".")[0] for path in MODULES} - {""}
    assert tops <= RANK.keys(), "name the new module in LAYERS, where its imports allow it"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_from_a_later_layer(path: Path) -> None:
    name = name_of(path)
    if name == "":  # the package re-exports, lazily
        return
    mine = RANK[name.split(".")[0]]
    late = {other for other in own_imports(path) if RANK[other.split(".")[0]] > mine}
    assert late == set()


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    graph = {name_of(path): own_imports(path) - {name_of(path)} for path in MODULES}
    graph.pop("")
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    # A package's __init__ and its modules count as one step apart.
    assert graph.keys() - done == set()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_members_of_a_family_do_not_import_one_another(family: str) -> None:
    members = {p.stem for p in (SOURCE / family).glob("*.py") if not p.stem.startswith("_")}
    assert members
    for path in (SOURCE / family).glob("*.py"):
        others = {f"{family}.{name}" for name in members if name != path.stem}
        assert own_imports(path) & others == set(), path.name


def test_learning_is_told_nothing_of_satellites() -> None:
    for path in (SOURCE / "learning").glob("*.py"):
        assert not {
            name for name in own_imports(path) if name.split(".")[0] in ("raster", "sources")
        }, path.name


def test_the_report_computes_no_score() -> None:
    for path in (SOURCE / "report").glob("*.py"):
        tops = {name.split(".")[0] for name in own_imports(path)}
        assert not tops & {"scorers", "scoring", "benchmarking", "verdict", "segmenting"}, path.name


def test_no_module_is_a_dumping_ground() -> None:
    for path in MODULES:
        assert not set(path.relative_to(SOURCE).with_suffix("").parts) & {
            "utils", "util", "helpers", "helper", "common", "misc",
        }, path  # fmt: skip


def test_importing_the_package_is_light_quiet_and_parses_nothing() -> None:
    code = (
        "import time; start = time.process_time()\n"
        "import terraloom\n"
        "spent = time.process_time() - start\n"
        "import sys\n"
        "heavy = {'torch', 'rasterio', 'pyarrow', 'numpy', 'pydantic'} & sys.modules.keys()\n"
        "print(spent, sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    spent, heavy = done.stdout.split(" ", 1)
    assert heavy.strip() == "[]"
    assert done.stderr == ""
    assert float(spent) < 0.5


def test_the_public_names_are_these_and_each_is_where_it_is_said_to_be() -> None:
    assert terraloom.__all__ == [
        "ClassTable",
        "LandClass",
        "Pipeline",
        "Settings",
        "Table",
        "build_dataset",
        "caption_samples",
        "curate_samples",
        "evaluate",
        "label_samples",
        "load_segmenter",
        "load_settings",
        "preset",
        "run_benchmark",
        "score_samples",
        "synthesize",
        "train_generator",
        "train_segmenter",
        "write_report",
    ]
    assert dir(terraloom) == terraloom.__all__
    for name in terraloom.__all__:
        thing = getattr(terraloom, name)
        assert thing.__name__ == name
        assert getattr(importlib.import_module(thing.__module__), name) is thing
    with pytest.raises(AttributeError, match="'terraloom' has no attribute 'nothing'"):
        _ = terraloom.nothing
