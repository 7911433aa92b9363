"""terraloom.toml: every setting of a run, validated; unknown keys are refused by name.

Family tables name the members in use: `[sources.folder]` holds the options of the member `folder`,
checked by that member's own `Settings`. Text values may hold `${VARIABLE}` from the environment.
"""

from terraloom.settings._section import Section
from terraloom.settings.data import ClassesSettings, CutSettings, ProjectSettings, SplitSettings
from terraloom.settings.learning import (
    LEAST_PART,
    PAPER_TRAINING,
    BenchmarkSettings,
    SegmentSettings,
    TrainingSettings,
)
from terraloom.settings.loading import (
    CONFIG_NAME,
    FAMILY_SECTIONS,
    load_settings,
    member_settings,
    settings_from,
)
from terraloom.settings.making import (
    LIKE_REAL,
    CaptionSettings,
    CurateQuota,
    CurateRule,
    CurateSettings,
    GenerateSettings,
    LabelSettings,
    ScoreSettings,
)
from terraloom.settings.whole import Settings

__all__ = [
    "CONFIG_NAME",
    "FAMILY_SECTIONS",
    "LEAST_PART",
    "LIKE_REAL",
    "PAPER_TRAINING",
    "BenchmarkSettings",
    "CaptionSettings",
    "ClassesSettings",
    "CurateQuota",
    "CurateRule",
    "CurateSettings",
    "CutSettings",
    "GenerateSettings",
    "LabelSettings",
    "ProjectSettings",
    "ScoreSettings",
    "Section",
    "SegmentSettings",
    "Settings",
    "SplitSettings",
    "TrainingSettings",
    "load_settings",
    "member_settings",
    "settings_from",
]
