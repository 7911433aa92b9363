"""The face of a captioner: scenes in, a few different captions of each out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, Protocol, get_args, runtime_checkable

from terraloom.types import Float32Array, ImageU8, LabelMask

Visible = Literal["image", "shares", "layout", "feedback"]
"""What a writer may look at: pixels, class shares, the label mask, contradictions found before."""
VISIBLE: Final[tuple[Visible, ...]] = get_args(Visible)

Mode = Literal["vision", "language", "vision-language", "template"]
"""Kind of writer: sees pixels, sees figures, sees both, or follows a grammar."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One sample as it is handed to a writer; what the writer does not declare is None."""

    sample_id: str
    image: ImageU8 | None
    """8-bit RGB, "height width band"; visible as "image"."""
    labels: LabelMask | None
    """Label mask, "height width"; visible as "layout"."""
    shares: Float32Array | None
    """Class shares of the known pixels, sum 1; visible as "shares"."""
    compass: bool
    """Whether row 0 is known to be north; else places are top, bottom, left and right."""
    feedback: str | None = None
    """Contradictions found in this writer's earlier caption; visible as "feedback"."""

    def only(self, sees: Collection[Visible]) -> "Scene":
        """This scene with everything hidden (None) that `sees` does not name."""
        return replace(
            self,
            image=self.image if "image" in sees else None,
            labels=self.labels if "layout" in sees else None,
            shares=self.shares if "shares" in sees else None,
            feedback=self.feedback if "feedback" in sees else None,
        )


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption and how it came to be: a row of the `captions/` table."""

    sample_id: str
    index: int
    """Place among the sample's captions, from 0."""
    text: str
    writer: str
    """Member name of the captioner."""
    mode: Mode
    saw: tuple[Visible, ...]
    """What the writer was shown for this caption, in the order of `VISIBLE`."""
    model: str | None
    """Model name and revision; None for a grammar."""
    prompt_sha256: str | None
    """Of the prompt's UTF-8 bytes; None without a prompt."""
    seed: int | None
    """Seed of this one caption; None where the writer takes none."""
    decoding: str | None
    """Decoding settings in short; None without a model."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A caption that could not be had: a row of the `errors/` table, never a caption."""

    sample_id: str
    index: int
    """Place among the sample's captions that stays empty, from 0."""
    attempts: int
    """Times that the model was asked, corrections included."""
    message: str
    """Why, in words that hold no key."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A contradicted caption on its way back to its writer."""

    scene: Scene
    """With `feedback`."""
    index: int
    round: int
    """From 1: which time this caption goes back."""
    text: str
    """What the writer wrote before."""
    taken: tuple[str, ...] = ()
    """The sample's other captions, which the new one must differ from."""


class Captioner(Protocol):
    """Writes captions from scenes."""

    @property
    def name(self) -> str:
        """Member name of the family, told in `Caption.writer`."""

    @property
    def sees(self) -> frozenset[Visible]:
        """What it needs to be shown; everything else reaches it as None."""

    def write(self, scenes: Sequence[Scene]) -> Sequence[Sequence[Caption | Failure]]:
        """Captions of each scene in order, all different within a scene.

        A scene's captions depend on the scene and the writer's seed, never on its batch mates. A
        grammar fails at nothing; a model may leave a `Failure` in a caption's place. Touches
        neither the global random state nor any disk but the folder given to `keep_in`.
        """


@runtime_checkable
class ModelCaptioner(Captioner, Protocol):
    """A writer that asks a model: it can fail, be corrected, and keeps what it was answered."""

    @property
    def seed(self) -> int:
        """Seed that each caption's own is derived from."""

    def keep_in(self, folder: Path) -> None:
        """Keep answers below `folder`, so that none that was finished is ever asked for again."""

    def rewrite(self, rewrites: Sequence[Rewrite]) -> Sequence[Caption | Failure]:
        """A new caption for each contradicted one, in order; it saw feedback too."""

    def forget_failed(self) -> int:
        """Make failed captions be asked for again; their number."""


def shown_to(captioner: Captioner, scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes as this captioner is allowed to see them."""
    return [scene.only(captioner.sees) for scene in scenes]
