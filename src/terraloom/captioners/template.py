"""Grammar over facts measured on the label mask: no model, no false claim, no digit.

The writer sees the layout, and with it the class shares, so its captions are targets and never the
inputs of a task that predicts either.
"""

import random
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from terraloom.captioners._face import Caption, Captioner, Scene, Visible
from terraloom.captioners._grammar import Plan, write_caption
from terraloom.captioners._nouns import table_nouns
from terraloom.classes import ClassTable
from terraloom.facts import Facts, measure_facts
from terraloom.seeds import derive_seed

_NAME: Final = "template"
_SEES: Final[frozenset[Visible]] = frozenset({"layout"})
_SAW: Final[tuple[Visible, ...]] = ("layout",)
_PLANS: Final[tuple[Plan, ...]] = ("tail", "detail", "both", "tail", "detail")
_MAX_ATTEMPTS: Final = 200
CAPTION_RATE: Final = 200.0
"""Samples per second, facts included, for `--dry-run`."""


class Settings(BaseModel):
    """Settings of the template captioner."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    captions_per_image: int = Field(default=5, ge=1, le=20)
    """How many captions each image gets; all different."""
    min_words: int = Field(default=12, ge=1, le=20)
    """Shortest caption, in words, where the mask has that much to tell."""
    max_words: int = Field(default=45, ge=25)
    """Longest caption, in words."""


class TemplateCaptioner:
    """Captions from a grammar; the caption is decided by scene, seed, id and index alone."""

    def __init__(self, settings: Settings, classes: ClassTable, seed: int) -> None:
        """A writer for masks of this class table."""
        self.settings = settings
        self.classes = classes
        self.seed = seed
        self._nouns = table_nouns(classes)

    @property
    def name(self) -> str:
        """Member name of the family."""
        return _NAME

    @property
    def sees(self) -> frozenset[Visible]:
        """The label mask alone."""
        return _SEES

    def write(self, scenes: Sequence[Scene]) -> list[list[Caption]]:
        """Captions of each scene in order.

        Raises:
            ValueError: a scene comes without its label mask.
        """
        return [self._write_scene(scene) for scene in scenes]

    def write_facts(self, sample_id: str, facts: Facts) -> list[Caption]:
        """Captions of one sample whose facts are already measured."""
        # Which caption gets which plan differs between samples, or the first captions of all
        # samples would be alike in build.
        turn = derive_seed(self.seed, _NAME, sample_id) % len(_PLANS)
        texts: list[str] = []
        captions = []
        for index in range(self.settings.captions_per_image):
            seed = derive_seed(self.seed, _NAME, sample_id, index)
            rng = random.Random(seed)
            plan = _PLANS[(index + turn) % len(_PLANS)]
            for _ in range(_MAX_ATTEMPTS):
                text = write_caption(
                    facts,
                    self._nouns,
                    rng,
                    plan=plan,
                    min_words=self.settings.min_words,
                    max_words=self.settings.max_words,
                )
                if text not in texts:
                    break
            texts.append(text)
            captions.append(
                Caption(
                    sample_id=sample_id,
                    index=index,
                    text=text,
                    writer=_NAME,
                    mode="template",
                    saw=_SAW,
                    model=None,
                    prompt_sha256=None,
                    seed=seed,
                    decoding=None,
                )
            )
        return captions

    def _write_scene(self, scene: Scene) -> list[Caption]:
        if scene.labels is None:
            raise ValueError(
                f"{scene.sample_id}: the template captioner needs the label mask, got None; "
                'it declares "layout" in sees'
            )
        facts = measure_facts(scene.labels, self.classes, compass=scene.compass)
        return self.write_facts(scene.sample_id, facts)


def build(settings: Settings, classes: ClassTable, seed: int) -> Captioner:
    """A template captioner; `seed` decides the wording, never the claims' truth."""
    return TemplateCaptioner(settings, classes, seed)
