"""The stages: what each is called, reads, is decided by, and does."""

from terraloom.stages.context import SETTINGS_COPY, Context, labeller_names
from terraloom.stages.proving import report_of
from terraloom.stages.table import (
    CAPTION_BENCHMARK,
    STAGES,
    Stage,
    stage_named,
    stages_before,
    stages_needed,
)

__all__ = [
    "CAPTION_BENCHMARK",
    "SETTINGS_COPY",
    "STAGES",
    "Context",
    "Stage",
    "labeller_names",
    "report_of",
    "stage_named",
    "stages_before",
    "stages_needed",
]
