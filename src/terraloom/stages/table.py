"""The stages in order: what each is called, reads, and is decided by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from terraloom.errors import InputError
from terraloom.runs import StageFolder
from terraloom.settings import Settings, member_settings
from terraloom.stages.context import Context
from terraloom.stages.making import (
    build_stage,
    caption_stage,
    generate_stage,
    label_stage,
    segment_stage,
)
from terraloom.stages.proving import (
    benchmark_captions_stage,
    benchmark_stage,
    curate_stage,
    report_stage,
    score_stage,
)

CAPTION_BENCHMARK: Final = "benchmark-captions"


@dataclass(frozen=True)
class Stage:
    """One stage of the context."""

    name: str
    does: str
    needs: tuple[str, ...]
    """Stages whose outputs it reads."""
    sections: tuple[str, ...]
    """Tables of the settings that decide its output."""
    run: Callable[[Context, StageFolder], dict[str, str]]
    """Does the work; returns a checksum per output that later stages read."""
    beside: tuple[str, ...] = ()
    """Files that other commands leave in the project and that it reads where they are there."""

    def settings_of(self, context: Context) -> dict[str, Any]:
        """The settings that decide the stage's output, validated options of members included."""
        settings = context.settings
        chosen: dict[str, Any] = {"seed": context.seed}
        if not self.needs and context.data_seed != context.seed:
            chosen["data_seed"] = context.data_seed
        for section in self.sections:
            value = getattr(settings, section)
            chosen[section] = (
                value.model_dump(mode="json") if hasattr(value, "model_dump") else value
            )
        for family, names in _members_of(self.name, settings).items():
            chosen[family] = {
                name: member_settings(settings, family, name).model_dump(mode="json")
                for name in names
            }
        return chosen


def stages_before(name: str) -> list[str]:
    """Names of the stages that come before one."""
    names = [stage.name for stage in STAGES]
    return names[: names.index(name)]


def stages_needed(name: str) -> list[str]:
    """Names of the stages that one reads from, directly or through others, in order."""
    needed: set[str] = set()
    for stage in reversed(STAGES):
        if stage.name == name or stage.name in needed:
            needed.update(stage.needs)
    return [stage.name for stage in STAGES if stage.name in needed]


def _members_of(stage: str, settings: Settings) -> Mapping[str, Sequence[str]]:
    """The members of families that a stage uses."""
    return {
        "build": {"sources": [settings.source_name]},
        "segment": {"segmenters": [settings.segment.architecture]},
        "generate": {"generators": sorted(settings.generators)},
        "caption": {"captioners": [settings.caption.captioner]},
        "score": {"scorers": list(settings.score.scorers)},
        "benchmark": {"segmenters": list(settings.benchmark.architectures)},
    }.get(stage, {})


STAGES: Final = (
    Stage(
        "build",
        "pairs are found, cut, split and tested for leaks",
        (),
        ("classes", "cut", "split"),
        build_stage,
    ),
    Stage(
        "segment",
        "a segmenter is trained on real train rows",
        ("build",),
        ("segment",),
        segment_stage,
    ),
    Stage(
        "generate",
        "generators are trained on real train rows and make samples",
        ("build", "segment"),
        ("generate",),
        generate_stage,
    ),
    Stage(
        "label",
        "synthetic images get their masks",
        ("build", "segment", "generate"),
        ("label",),
        label_stage,
    ),
    Stage(
        "caption", "every sample gets its captions", ("build", "label"), ("caption",), caption_stage
    ),
    Stage(
        "score",
        "samples, captions and corpus are measured",
        ("build", "segment", "label", "caption"),
        ("score",),
        score_stage,
    ),
    Stage(
        "curate",
        "synthetic samples are kept or rejected, with the reason",
        ("label", "score"),
        ("curate",),
        curate_stage,
    ),
    Stage(
        "benchmark",
        "arms are trained at equal budgets and tested on real rows",
        ("build", "label", "curate"),
        ("benchmark",),
        benchmark_stage,
    ),
    Stage(
        CAPTION_BENCHMARK,
        "captioners are trained per arm and what they say of test is checked",
        ("build", "label", "caption", "curate"),
        ("caption_benchmark",),
        benchmark_captions_stage,
    ),
    Stage(
        "report",
        "one page is written",
        (
            "build",
            "segment",
            "generate",
            "label",
            "caption",
            "score",
            "curate",
            "benchmark",
            CAPTION_BENCHMARK,
        ),
        ("project",),
        report_stage,
        ("which-score/which-score.json", "demand/demand.json"),
    ),
)
"""In order; each reads from those that it names only."""


def stage_named(name: str) -> Stage:
    """One stage by name.

    Raises:
        InputError: there is no such stage; lists those there are.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise InputError(f"there is no stage {name!r}; there are: {', '.join(s.name for s in STAGES)}.")
