"""The whole settings file: all tables, and what must fit between them."""

from typing import Any

from pydantic import Field, model_validator

from terraloom.settings._section import Section
from terraloom.settings.caption_benchmark import CaptionBenchmarkSettings
from terraloom.settings.data import (
    ClassesSettings,
    CutSettings,
    ProjectSettings,
    SplitSettings,
)
from terraloom.settings.learning import LEAST_PART, BenchmarkSettings, SegmentSettings
from terraloom.settings.making import (
    CaptionSettings,
    CurateSettings,
    GenerateSettings,
    LabelSettings,
    ScoreSettings,
)


def _source() -> dict[str, dict[str, Any]]:
    return {"world": {}}


def _generators() -> dict[str, dict[str, Any]]:
    return {"spade": {}, "flow": {}}


class Settings(Section):
    """A whole settings file."""

    project: ProjectSettings = ProjectSettings()
    """Name and seed."""
    classes: ClassesSettings = ClassesSettings(preset="worldcover7")
    """Class table."""
    sources: dict[str, dict[str, Any]] = Field(default_factory=_source)
    """Exactly one source and its options."""
    cut: CutSettings = CutSettings()
    """Patches and filters."""
    split: SplitSettings = SplitSettings()
    """Roles."""
    segment: SegmentSettings = SegmentSettings()
    """The labeller."""
    segmenters: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of segmenters by name."""
    generate: GenerateSettings = GenerateSettings()
    """Numbers of samples."""
    generators: dict[str, dict[str, Any]] = Field(default_factory=_generators)
    """The generators in use and their options."""
    label: LabelSettings = LabelSettings()
    """Thresholds of labels."""
    caption: CaptionSettings = CaptionSettings()
    """The captioner in use."""
    captioners: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of captioners by name."""
    score: ScoreSettings = ScoreSettings()
    """The scorers in use."""
    scorers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of scorers by name."""
    curate: CurateSettings = CurateSettings()
    """Rules."""
    benchmark: BenchmarkSettings = BenchmarkSettings()
    """Arms, seeds and budget."""
    caption_benchmark: CaptionBenchmarkSettings = CaptionBenchmarkSettings()
    """Captioners trained per arm; off while arms is empty."""

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if len(self.sources) != 1:
            raise ValueError(
                f"sources: exactly one [sources.<name>] table is needed, found "
                f"{', '.join(self.sources) or 'none'}"
            )
        for where, size in (
            ("segment.training.crop_size", self.segment.training.crop_size),
            ("benchmark.training.crop_size", self.benchmark.training.crop_size),
        ):
            if size > self.cut.patch_size:
                raise ValueError(
                    f"{where} = {size} is larger than cut.patch_size = {self.cut.patch_size}; "
                    "use a smaller crop or larger patches"
                )
            if size < LEAST_PART and size < self.cut.patch_size:
                raise ValueError(
                    f"{where} = {size} is too small a part of cut.patch_size = "
                    f"{self.cut.patch_size}: the deepest layer of an encoder sees a crop as one "
                    "pixel then, never learns what lies beside it, and whole patches are misread. "
                    f"Use {LEAST_PART} or more, or patches of {size}"
                )
        devices = self.project.devices
        for where, batch in (
            ("segment.training.batch_size", self.segment.training.batch_size),
            ("benchmark.training.batch_size", self.benchmark.training.batch_size),
        ):
            if batch % devices or (devices > 1 and batch < 2 * devices):
                raise ValueError(
                    f"{where} = {batch} cannot be shared by project.devices = {devices} in equal "
                    f"parts of two images or more; use a multiple of {devices}"
                )
        if devices > 1 and self.project.wandb is not None:
            raise ValueError(
                "project.wandb sends the curves of one process and project.devices = "
                f"{devices} trains in others; leave one of them out (TensorBoard files are "
                "written in any case)"
            )
        if self.generate.size > self.cut.patch_size:
            raise ValueError(
                f"generate.size = {self.generate.size} is larger than cut.patch_size = "
                f"{self.cut.patch_size}: there would be no masks of that size to draw from"
            )
        if self.benchmark.training.crop_size > self.generate.size:
            raise ValueError(
                f"benchmark.training.crop_size = {self.benchmark.training.crop_size} is larger "
                f"than generate.size = {self.generate.size}: synthetic samples would be too small"
            )
        return self

    @property
    def source_name(self) -> str:
        """The source in use."""
        return next(iter(self.sources))

    def options(self, family: str, name: str) -> dict[str, Any]:
        """The options given for one member, unvalidated; empty where none are given."""
        tables: dict[str, dict[str, Any]] = getattr(self, family)
        return dict(tables.get(name, {}))
