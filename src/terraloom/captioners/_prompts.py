"""What models are asked: two presets, the decoding that belongs to them, and what each shows.

`paper` follows the intent and decoding settings of Çağlar and Temizel (arXiv 2603.09625): image,
class shares in percent, or both; one or two sentences. The wording is ours. `grounded` shows facts
in words instead of figures, forbids digits, and begins each caption of an image elsewhere.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

from terraloom.captioners._face import Mode, Scene, Visible
from terraloom.captioners._nouns import table_nouns
from terraloom.classes import ClassTable
from terraloom.facts import UNKNOWN_TOLD, ClassFacts, Facts, amount_words, measure_facts
from terraloom.seeds import derive_seed
from terraloom.types import ImageU8

Preset = Literal["grounded", "paper"]
ModelMode = Literal["vision", "language", "vision-language"]
Role = Literal["system", "user", "assistant"]

FORBIDDEN: Final = (
    "image", "picture", "photo", "photograph", "satellite", "aerial", "pixel", "mask", "label",
    "dataset", "caption", "percent", "percentage",
)  # fmt: skip
"""Words that tell of the file and not of the land; the default of `forbidden_words`."""

_SHOWS: Final[dict[tuple[Preset, ModelMode], tuple[Visible, ...]]] = {
    ("paper", "vision"): ("image",),
    ("paper", "language"): ("shares",),
    ("paper", "vision-language"): ("image", "shares"),
    ("grounded", "vision"): ("image",),
    ("grounded", "language"): ("layout",),
    ("grounded", "vision-language"): ("image", "layout"),
}
_ANGLES: Final = (
    "Begin with the cover that takes up most of the land.",
    "Begin with where things lie.",
    "Begin with what borders what, or how the covers mix.",
    "Tell everything in one flowing sentence.",
    "Begin with one of the lesser covers, if there is any.",
)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen."""

    temperature: float
    """0 takes the likeliest token (greedy)."""
    top_p: float
    """Nucleus that is sampled from (Holtzman et al. 2020), 0 … 1."""
    max_tokens: int
    """Most new tokens of one answer."""

    def __str__(self) -> str:
        if self.temperature == 0:
            return f"greedy, at most {self.max_tokens} tokens"
        return (
            f"temperature {self.temperature:g}, top-p {self.top_p:g}, "
            f"at most {self.max_tokens} tokens"
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """One part of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A conversation; the image, where there is one, stands before the first user turn's text."""

    turns: tuple[Turn, ...]
    image: ImageU8 | None

    @property
    def sha256(self) -> str:
        """Of the turns as JSON in UTF-8; the image is not part of it."""
        turns = [[turn.role, turn.text] for turn in self.turns]
        return sha256(json.dumps(turns, ensure_ascii=False).encode()).hexdigest()

    @property
    def image_sha256(self) -> str | None:
        """Of shape and pixels."""
        if self.image is None:
            return None
        digest = sha256(str(self.image.shape).encode())
        digest.update(self.image.tobytes())
        return digest.hexdigest()

    def answered(self, text: str, reply: str) -> "Prompt":
        """The conversation after the model wrote `text` and was told `reply`."""
        return Prompt((*self.turns, Turn("assistant", text), Turn("user", reply)), self.image)


def shown_by(preset: Preset, mode: ModelMode) -> tuple[Visible, ...]:
    """What a prompt of this preset and mode tells its reader of the scene."""
    return _SHOWS[preset, mode]


def decoding_of(preset: Preset, mode: ModelMode) -> Decoding:
    """The preset's decoding; `paper` as published: language samples, the others are greedy."""
    if preset == "grounded":
        return Decoding(0.7, 0.9, 120)
    return Decoding(0.7, 0.8, 100) if mode == "language" else Decoding(0.0, 1.0, 100)


class NothingToTell(Exception):
    """A scene whose mask is unknown all over, and a writer that sees nothing else."""


class Prompter:
    """Makes the first prompt of a caption.

    Args:
        preset: wording and what is shown.
        mode: whether image, facts or both are shown.
        classes: the table that masks and shares are of.
        forbidden: words that the grounded prompt forbids.
        seed: decides with which angle the captions of an image begin.
    """

    def __init__(
        self,
        preset: Preset,
        mode: ModelMode,
        classes: ClassTable,
        forbidden: Sequence[str],
        seed: int,
    ) -> None:
        self.preset = preset
        self.mode: Mode = mode
        self.shows = shown_by(preset, mode)
        self.classes = classes
        self._forbidden = tuple(forbidden)
        self._seed = seed
        self.names = [nouns[0].text for nouns in table_nouns(classes)]
        """How classes are called in prompts, by label."""

    def prompts(self, scene: Scene, count: int) -> list[Prompt]:
        """The first prompts of a scene's captions 0 … `count` − 1.

        Raises:
            ValueError: the scene lacks what the prompt is to show.
            NothingToTell: nothing is known of it.
        """
        missing = [
            name
            for name, value in (
                ("image", scene.image),
                ("shares", scene.shares),
                ("layout", scene.labels),
            )
            if name in self.shows and value is None
        ]
        if missing:
            raise ValueError(f"{scene.sample_id}: the prompt shows {missing}, the scene has none")
        image = scene.image if "image" in self.shows else None
        told = self._told(scene)
        if self.preset == "paper":
            ask = (
                "Describe this satellite scene in one or two sentences: its land cover and how "
                "the parts lie to each other."
            )
            turns = (Turn("user", " ".join(filter(None, [told, ask]))),)
            return [Prompt(turns, image)] * count
        turn = derive_seed(self._seed, "angle", scene.sample_id) % len(_ANGLES)
        return [
            Prompt(
                (
                    Turn("system", self._rules()),
                    Turn("user", f"{told}\n\n{_ANGLES[(index + turn) % len(_ANGLES)]}"),
                ),
                image,
            )
            for index in range(count)
        ]

    def _rules(self) -> str:
        source = {
            "vision": "what you see",
            "language": "the facts that you are given",
            "vision-language": "the facts that you are given and what you see; where they differ, "
            "the facts hold",
        }[self.mode]
        words = f" Do not use these words: {', '.join(self._forbidden)}." if self._forbidden else ""
        return (
            "You describe land cover seen from above, for readers who will check every statement. "
            f"State only {source}. Write one or two plain sentences of twelve to forty-five words. "
            "Tell amounts in words such as most, about half, a quarter or a small part: never "
            f"digits, percentages or exact figures.{words} Answer with the sentences alone."
        )

    def _told(self, scene: Scene) -> str:
        if self.mode == "vision":
            if self.preset == "paper":
                return ""
            return f"Name these covers where you see them: {', '.join(self.names)}."
        if self.preset == "grounded":
            assert scene.labels is not None
            facts = measure_facts(scene.labels, self.classes, compass=scene.compass)
            if not facts.ranked:
                raise NothingToTell("the mask is unknown all over, so there are no facts to tell")
            return "Facts:\n" + "\n".join(f"- {line}" for line in self.fact_lines(facts))
        assert scene.shares is not None
        shares = sorted(zip(scene.shares, self.names, strict=True), key=lambda pair: -pair[0])
        listed = [f"{name} {100 * share:.1f} %" for share, name in shares if share > 0]
        if not listed:
            raise NothingToTell("no class share is known, so there is nothing to tell")
        return f"The land cover of a scene: {', '.join(listed)}."

    def fact_lines(self, facts: Facts) -> list[str]:
        """Facts in words without a digit, the largest class first."""
        area = "the scene" if facts.known >= 1 - UNKNOWN_TOLD else "the mapped area"
        lines = []
        for label in facts.ranked:
            lines.append(self._class_line(facts, facts.classes[label], area))
        for half in facts.halves:
            lines.append(f"{half.words} is mainly {self.names[half.label]}")
        if facts.absent:
            lines.append(f"absent: {', '.join(self.names[label] for label in facts.absent)}")
        if facts.known < 1 - UNKNOWN_TOLD:
            lines.append("part of the scene is not mapped")
        return lines

    def _class_line(self, facts: Facts, of: ClassFacts, area: str) -> str:
        words = amount_words(of.share)
        parts = [f"{self.names[of.label]}: {words[0] if words else 'some'} of {area}"]
        if facts.dominant == of.label:
            parts.append("the dominant cover")
        if of.place is not None:
            parts.append(of.place.words if of.place.is_firm else f"mainly {of.place.words}")
        if of.corridor is not None:
            parts.append(f"a narrow strip running {of.corridor.words}")
        elif of.is_fragmented:
            parts.append("broken up into many patches")
        elif of.is_block and len(facts.ranked) > 1:
            parts.append("in one continuous block")
        if of.main_neighbour is not None:
            parts.append(f"mostly bordered by {self.names[of.main_neighbour]}")
        return ", ".join(parts)


def with_feedback(prompt: Prompt, text: str, feedback: str) -> Prompt:
    """The prompt of a caption that goes back: what was written, and what contradicts the map."""
    return prompt.answered(
        text,
        "Checked against the land-cover map, this is not right:\n"
        f"{feedback}\n"
        "Write the caption again so that every statement holds. Answer with it alone.",
    )
