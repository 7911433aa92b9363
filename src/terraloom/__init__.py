"""terraloom weaves labelled, captioned, verified land-cover data sets.

`import terraloom` loads no torch; names are imported on first use:

    classes      preset, ClassTable, LandClass
    settings     Settings, load_settings
    pipeline     Pipeline                    the stages, from a settings file to a report
    dataset      build_dataset               sources to a split sample table
    segmenting   train_segmenter, load_segmenter, evaluate
    generating   train_generator, synthesize
    labelling    label_samples
    captioning   caption_samples
    scoring      score_samples
    curation     curate_samples
    benchmarking run_benchmark
    report       write_report
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from terraloom.benchmarking import run_benchmark
    from terraloom.captioning import caption_samples
    from terraloom.classes import ClassTable, LandClass, preset
    from terraloom.curation import curate_samples
    from terraloom.dataset.build import build_dataset
    from terraloom.generating import synthesize, train_generator
    from terraloom.labelling import label_samples
    from terraloom.pipeline import Pipeline
    from terraloom.report.page import write_report
    from terraloom.scoring import score_samples
    from terraloom.segmenting import evaluate, load_segmenter, train_segmenter
    from terraloom.settings import Settings, load_settings
    from terraloom.tables import Table

__version__ = version("terraloom")

_HOMES = {
    "ClassTable": "classes",
    "LandClass": "classes",
    "Pipeline": "pipeline",
    "Settings": "settings",
    "Table": "tables",
    "build_dataset": "dataset.build",
    "caption_samples": "captioning",
    "curate_samples": "curation",
    "evaluate": "segmenting",
    "label_samples": "labelling",
    "load_segmenter": "segmenting",
    "load_settings": "settings",
    "preset": "classes",
    "run_benchmark": "benchmarking",
    "score_samples": "scoring",
    "synthesize": "generating",
    "train_generator": "generating",
    "train_segmenter": "segmenting",
    "write_report": "report.page",
}

__all__ = [
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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in _HOMES:
        raise AttributeError(f"module 'terraloom' has no attribute {name!r}")
    return getattr(importlib.import_module(f"terraloom.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
