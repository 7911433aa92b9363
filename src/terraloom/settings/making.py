"""Tables about what is made: samples, labels, captions, scores, and what is kept."""

from typing import Final, Literal

from pydantic import Field, model_validator

from terraloom.settings._section import Section


class GenerateSettings(Section):
    """What to make; the generators in use are the [generators.<name>] tables."""

    size: int = Field(default=64, ge=32, multiple_of=32)
    """Height and width of synthetic samples in pixels."""
    conditional_per_row: float = Field(default=1.0, ge=0)
    """Conditional samples per real training row, from each generator that takes masks."""
    unconditional_per_row: float = Field(default=1.0, ge=0)
    """Unconditional samples per real training row, from each generator that makes them."""
    joint_per_row: float = Field(default=1.0, ge=0)
    """Samples per real training row whose mask is made along with the image, from each generator
    that does so."""
    layout_per_row: float = Field(default=1.0, ge=0)
    """Samples on made masks per real training row, from each generator that takes masks; needs
    [generators.layout]."""
    images_per_mask: int = Field(default=1, ge=1)
    """Samples with seeds of their own for each mask that is asked for."""
    plan: Literal["as-real", "balanced", "toward"] = "as-real"
    """as-real: masks drawn evenly from the real training rows; balanced: masks chosen so that all
    classes come near equal shares; toward: near the shares in `toward`."""
    toward: dict[str, float] = Field(default_factory=dict)
    """Share per class name, 0 … 1, that plan = "toward" aims at; other classes follow."""
    shard_rows: int = Field(default=256, ge=1, le=2000)
    """Samples per shard: the unit of resume."""

    @model_validator(mode="after")
    def _aims(self) -> "GenerateSettings":
        if (self.plan == "toward") != bool(self.toward):
            raise ValueError(
                'plan = "toward" and toward = { class = share } belong together: '
                f"plan is {self.plan!r}, toward is {self.toward}"
            )
        if any(not 0 <= share <= 1 for share in self.toward.values()):
            raise ValueError(f"toward: shares lie between 0 and 1, found {self.toward}")
        if sum(self.toward.values()) > 1:
            raise ValueError(f"toward: the shares sum beyond 1, found {self.toward}")
        return self


class LabelSettings(Section):
    """How synthetic images get their final masks."""

    min_confidence: float = Field(default=0.5, ge=0, le=1)
    """Unconditional samples: pixels labelled with less confidence become unknown."""
    disagree_confidence: float = Field(default=0.8, ge=0, le=1)
    """Conditional samples: where the labeller contradicts the asked-for mask with at least this
    confidence, the pixel becomes unknown."""
    flips: bool = False
    """Each labeller looks at four mirror images; four times the time."""
    yardstick: int = Field(default=256, ge=1)
    """Windows of real val images, as large as samples, that are looked at in the same way: what
    rules with real_quantile compare with."""


class CaptionSettings(Section):
    """Who writes; the options stand under [captioners.<name>]."""

    captioner: str = "template"
    """A member of captioners."""
    repair_rounds: int = Field(default=2, ge=0, le=10)
    """How often a model's caption that its mask contradicts goes back to it with the
    contradiction; 0 only counts."""
    contradicted: Literal["replace", "keep"] = "replace"
    """replace: a model's caption that is still contradicted gives way to one of the template;
    keep: it stays, counted."""
    failed: Literal["leave", "replace"] = "leave"
    """leave: a caption that the model could not give stays out, in errors/; replace: the template
    writes one instead, and it stays in errors/."""


class ScoreSettings(Section):
    """What is measured."""

    scorers: tuple[str, ...] = (
        "agreement",
        "composition",
        "nearest",
        "claims",
        "redundancy",
        "embedding",
        "fidelity",
    )
    """Members of scorers; their options stand under [scorers.<name>]."""


LIKE_REAL: Final = ("agreement", "confidence", "unanimity", "known_share")
"""Columns that real images have a figure of, too."""


class CurateRule(Section):
    """One rule: a synthetic sample whose score lies outside the bounds is rejected."""

    column: str
    """A column of scores/."""
    min: float | None = None
    """Smallest value that is kept."""
    max: float | None = None
    """Largest value that is kept."""
    real_quantile: float | None = Field(default=None, ge=0, lt=1)
    """Smallest value that is kept, told by real val images: the one that this share of them lies
    below. For agreement, confidence, unanimity and known_share; in place of min."""

    @model_validator(mode="after")
    def _bounded(self) -> "CurateRule":
        if self.min is None and self.max is None and self.real_quantile is None:
            raise ValueError("a rule needs min or max, or real_quantile")
        if self.min is not None and self.real_quantile is not None:
            raise ValueError("a rule takes min or real_quantile, not both")
        if self.real_quantile is not None and self.column not in LIKE_REAL:
            raise ValueError(
                f"real_quantile compares with real images, and they have no {self.column!r}; "
                f"it goes with {', '.join(LIKE_REAL)}"
            )
        return self


class CurateQuota(Section):
    """At most so many kept samples whose largest class is one; the best by a score stay."""

    class_name: str
    """A class of the table."""
    most: int = Field(ge=0)
    """Kept samples of that class."""
    by: str = "agreement"
    """A column of scores/; samples without a value come last."""
    lowest_first: bool = False
    """Keep the smallest values, as for composition_error, not the largest."""


class CurateSettings(Section):
    """Which synthetic samples are worth keeping. Empty scores pass a rule."""

    rules: tuple[CurateRule, ...] = (
        CurateRule(column="agreement", real_quantile=0.1),
        CurateRule(column="known_share", real_quantile=0.1),
        CurateRule(column="confidence", real_quantile=0.1),
        CurateRule(column="nearest_train", min=0.1, max=2.5),
    )
    """Applied in order; the first that fails names the reason."""
    quotas: tuple[CurateQuota, ...] = ()
    """Applied to what the rules keep, so that no class crowds out the others."""
