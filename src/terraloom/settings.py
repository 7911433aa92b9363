"""terraloom.toml: every setting of a run, validated; unknown keys are refused by name.

Family tables name the members in use: `[sources.folder]` holds the options of the member `folder`,
checked by that member's own `Settings`. Text values may hold `${VARIABLE}` from the environment.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from terraloom import families
from terraloom.caption_benchmark_settings import CaptionBenchmarkSettings
from terraloom.classes import PRESETS, ClassTable, LandClass, preset
from terraloom.errors import SettingsError

CONFIG_NAME: Final = "terraloom.toml"

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A table of the settings file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ProjectSettings(Section):
    """What the whole run shares."""

    name: str = "terraloom"
    """Title of the report."""
    seed: int = Field(default=0, ge=0)
    """Every random draw of the run is derived from it."""
    data_seed: int | None = Field(default=None, ge=0)
    """Of what the source makes or draws; left out, `seed`. Runs of several seeds on the same data
    share it."""
    devices: int = Field(default=1, ge=1)
    """GPUs of this machine (without any: processes) that share each batch of a segmenter's
    training. Batch norm and Dice then look at a part; group norm and cross-entropy are exact."""
    threads: int = Field(default=0, ge=0)
    """CPU threads for training; 0 takes one per core. Another count may change the last digits."""
    workers: int = Field(default=0, ge=0)
    """Processes for cutting; 0 takes one per core. Never changes a result."""
    cache: Literal["auto", "memory", "mapped", "packed"] = "auto"
    """How training rows are held: decoded in memory, decoded in a mapped file below cache/, or
    packed and decoded image by image; auto goes by size (2 GB, cache_gb)."""
    cache_gb: float = Field(default=50.0, gt=0)
    """Largest decoded file, in 10⁹ bytes; 400,000 patches of 256 pixels would take 131."""
    wandb: str | None = None
    """Weights & Biases project that training curves are sent to as well (pip install wandb);
    TensorBoard files are written in any case."""


class ClassesSettings(Section):
    """Which classes there are: a preset, or a table of your own."""

    preset: str | None = None
    """worldcover7 (the paper's) or worldcover11; leave out where you give a table."""
    table: tuple[LandClass, ...] = ()
    """Your own classes in label order: [[classes.table]] with name, colour, codes, synonyms."""
    ignore_codes: tuple[int, ...] = ()
    """Codes of a table of your own that mean unknown."""

    @model_validator(mode="after")
    def _one_way(self) -> "ClassesSettings":
        if self.preset is not None and (self.table or self.ignore_codes):
            raise ValueError("give either preset or table (with ignore_codes), not both")
        if self.preset is None and not self.table:
            raise ValueError(f"give preset (one of {', '.join(PRESETS)}) or [[classes.table]]")
        return self

    def class_table(self) -> ClassTable:
        """The class table that these settings describe."""
        if self.preset is not None:
            return preset(self.preset)
        return ClassTable(classes=self.table, ignore_codes=self.ignore_codes)


class CutSettings(Section):
    """How scenes become patches, and which patches are left out."""

    patch_size: int = Field(default=128, ge=32, multiple_of=32)
    """Height and width of a patch in pixels."""
    stride: int | None = Field(default=None, ge=8)
    """Pixels between neighbouring patches; left out, the patch size (no overlap)."""
    edge: Literal["drop", "shift"] = "drop"
    """Rest of a scene that holds no whole patch: drop it, or shift the last patch inward."""
    grid: Literal["mosaic", "per-tile"] = "mosaic"
    """mosaic: patches straddle the edges of touching images; per-tile: each image is cut alone, as
    published, and the rest at its edges is lost."""
    stretch: Literal["fixed", "aras"] = "fixed"
    """fixed: one linear scale for all patches, low … high; aras: each patch by its own maximum, as
    published, so that brightness no longer compares between patches."""
    low: float | None = None
    """Source value drawn as 0. One fixed scale for all; left out, the source's own default
    (Sentinel-2 composites: reflectance 0)."""
    high: float | None = None
    """Source value drawn as 255 (Sentinel-2 composites: 3000, reflectance 0.3)."""
    depth: Literal[8, 16] = 8
    """8: 8-bit RGB as PNG; 16: the source's own values as TIFF, on which models look through the
    fixed scale."""
    nir: bool = False
    """Keep the near infrared as fourth band; needs depth = 16, since the scale of visible light
    would cut it off."""
    max_unknown_share: float = Field(default=0.0, ge=0, le=1)
    """A patch with a larger share of unknown pixels is left out."""
    max_cloud_share: float = Field(default=0.05, ge=0, le=1)
    """A patch with a larger share of clouded pixels is left out, where the source tells clouds."""
    max_class_share: dict[str, float] = {}
    """Per class name: a patch with a larger share is left out (the paper: water 0.9)."""
    min_classes: int = Field(default=1, ge=1)
    """A patch with fewer classes is left out."""
    max_year_gap: int = Field(default=1, ge=0)
    """A patch whose image is more years away from its labels is left out, where both are known."""
    drop_blank: bool = True
    """Leave out patches whose image is one single value (no data)."""
    check_shift: bool = True
    """Measure how far the labels of each patch lie off its image."""
    max_shift_px: float = Field(default=2.0, gt=0)
    """A clear shift beyond this many pixels flags the patch."""
    drop_shifted: bool = False
    """Leave flagged patches out instead of only flagging them."""

    @model_validator(mode="after")
    def _storable(self) -> "CutSettings":
        if self.nir and self.depth == 8:
            raise ValueError("nir = true needs depth = 16; on 8 bits the near infrared saturates")
        if self.stretch == "aras" and self.depth == 16:
            raise ValueError('stretch = "aras" makes 8-bit images; set depth = 8')
        return self


class SplitSettings(Section):
    """Which patches train, steer and test."""

    by: Literal["auto", "place", "block"] = "auto"
    """place: groups named by the source; block: squares on the ground, with a buffer; auto: place
    where the source names places, else block."""
    roles: dict[str, Literal["train", "val", "test"]] = {}
    """Split names of the source's index to roles, such as {train = "train", dev = "test"}."""
    val_share: float = Field(default=0.15, gt=0, lt=1)
    """Share of the training places (or blocks) that becomes val, where the source brings none."""
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of all places (or blocks) that becomes test, where the source brings none."""
    folds: int = Field(default=0, ge=0, le=100)
    """Grouped folds that all places are dealt into, whatever the index says of roles; 0 for none.
    `terraloom cross-validate` runs the whole chain on each."""
    fold: int = Field(default=0, ge=0)
    """The fold that is test here, from 0."""
    fold_seed: int = Field(default=0, ge=0)
    """Deals the places into folds, alike for every project.seed."""
    held_back_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the train places that no stage sees but the arm "more-real" of the benchmark: what
    as much more real data would have brought."""
    block_size_m: float = Field(default=2560.0, ge=10)
    """Side of a block in metres, at any latitude."""
    buffer_m: float = Field(default=0.0, ge=0)
    """Patches of another role closer than this to val or test are left out, in metres from edge to
    edge; patches that overlap are left out in any case."""
    attempts: int = Field(default=256, ge=1)
    """Seeded draws of roles; the most even ones are then improved by exchanging places."""
    duplicate_limit: float = Field(default=0.995, gt=0, le=1)
    """Thumbnail correlation at which two images of different roles count as the same."""
    shared_ground_limit: float = Field(default=0.75, gt=0, le=1)
    """Correlation of fine detail at which two images of different roles, laid over each other
    shifted, mirrored or turned, count as showing the same ground; 1 turns this test off."""
    near_duplicates: Literal["fail", "drop"] = "fail"
    """fail: the leak test stops the run at images of the same ground in two roles; drop: it leaves
    them out of train or val first, as the buffer does."""
    max_findings: int = Field(default=1000, ge=1)
    """Leaks that are listed, of each kind; all of them are counted."""

    @model_validator(mode="after")
    def _one_of_the_folds(self) -> "SplitSettings":
        if self.folds == 1 or (self.folds and self.fold >= self.folds):
            raise ValueError(
                f"folds = {self.folds} and fold = {self.fold} do not go together: use 2 folds or "
                "more (0 for none), and a fold from 0 to folds - 1"
            )
        return self


LEAST_PART: Final = 64
"""Smallest crop in pixels of larger patches: two pixels for encoders that halve five times."""


class TrainingSettings(Section):
    """One training of a segmenter, counted in images."""

    images: int = Field(default=16_000, ge=1)
    """Images seen in all: updates times batch."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the real training rows, which then decide `images`; left out, `images` does."""
    batch_size: int = Field(default=32, ge=2)
    """Images per update."""
    crop_size: int = Field(default=64, ge=32, multiple_of=32)
    """Side of the random crops in pixels; at most the patch size, and below 64 equal to it."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak rate of AdamW."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of AdamW."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    loss: Literal["dice", "ce", "dice+ce", "focal"] = "dice+ce"
    """Dice is the paper's; all are weighted by the trust map."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: in cross-entropy and focal loss a class weighs by one over the root of its share of
    the training pixels."""
    warm_up: float = Field(default=0.03, ge=0, lt=1)
    """Share of the training over which the rate rises to its peak."""
    accumulate: int = Field(default=1, ge=1)
    """Pieces that a batch is computed in, for devices of little memory. Batch norm and Dice then
    look at a piece, so the result is not quite that of the whole batch."""
    compile: bool = False
    """Let torch compile the network: pays on GPUs, hardly on CPUs."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """Cosine after a short warm-up; plateau lowers the rate where val stops improving."""
    normalise: Literal["data", "imagenet"] = "data"
    """What images are standardised by: mean and deviation of the training rows, or those of
    ImageNet, as published. Kept with the model, so that all that use it do the same."""
    augment: Literal["none", "paper", "strong"] = "paper"
    """paper: flips, quarter turns, brightness and contrast; strong adds scale, colour, noise."""
    checks: int = Field(default=8, ge=1)
    """Evaluations on val; the best one's weights are kept."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many checks without gain; left out, train to the end."""
    ema: float = Field(default=0.995, ge=0, lt=1)
    """Decay of the averaged weights that are evaluated and kept; 0 turns averaging off."""

    def budget(self, rows: int) -> int:
        """Images seen in all, where there are so many real training rows."""
        return self.images if self.epochs is None else max(1, round(self.epochs * rows))

    def decided(self, rows: int) -> "TrainingSettings":
        """The same training with its images counted, where there are so many real training rows."""
        return self.model_copy(update={"images": self.budget(rows), "epochs": None})


PAPER_TRAINING: Final[Mapping[str, Any]] = {
    "epochs": 20,
    "batch_size": 24,
    "crop_size": 256,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "loss": "dice",
    "warm_up": 0.0,
    "schedule": "plateau",
    "normalise": "imagenet",
    "augment": "paper",
    "checks": 20,
    "patience": 5,
    "ema": 0.0,
}
"""The published recipe: 20 epochs of batch 24, AdamW 1e-3, clipped at 1, Dice, plateau (patience 3,
factor 0.1) on macro F1, early stop after 5, ImageNet normalisation, flips, quarter turns,
brightness and contrast."""


def _with_preset(raw: Any) -> Any:  # noqa: ANN401 - whatever the file holds
    """`preset = "paper"` sets the published recipe; keys that are given win."""
    if not isinstance(raw, Mapping) or raw.get("preset") != "paper":
        return raw
    given = raw.get("training", {})
    if isinstance(given, TrainingSettings):
        given = given.model_dump(exclude_unset=True)
    if not isinstance(given, Mapping):
        return raw
    published = dict(PAPER_TRAINING)
    if "images" in given:
        published.pop("epochs")
    return {**raw, "training": {**published, **given}}


class SegmentSettings(Section):
    """The segmenter that labels and measures."""

    architecture: str = "unet"
    """A member of segmenters; its options stand under [segmenters.<name>]."""
    preset: Literal["small", "paper"] = "small"
    """small: MobileNetV3 encoder from scratch, for CPUs; paper: EfficientNet-B7 with ImageNet
    weights and the published recipe of training, where its keys are not given."""
    training: TrainingSettings = TrainingSettings()
    """Budget and recipe."""
    members: int = Field(default=1, ge=1, le=16)
    """Labellers of other seeds that label together; each costs a training."""
    noise_folds: int = Field(default=0, ge=0, le=20)
    """Folds of train places on which the labeller's label noise is estimated, each with a training
    of its own; 0 leaves the estimate out."""

    _published = model_validator(mode="before")(_with_preset)

    @field_validator("noise_folds")
    @classmethod
    def _two_or_none(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one fold leaves nothing to train on; use 0 or at least 2")
        return value


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


class BenchmarkSettings(Section):
    """Does the synthetic data help? Arms by architectures by seeds."""

    architectures: tuple[str, ...] = ("unet",)
    """Members of segmenters."""
    preset: Literal["small", "paper"] = "small"
    """As in [segment]."""
    arms: tuple[str, ...] = ("real", "real-strong", "synthetic", "real+both")
    """Of real, real-strong, synthetic, real+conditional, real+unconditional, real+both, unfiltered,
    random-curated-size, relabel, more-real; with an amount such as real+both@0.5x or real@25%."""
    ratios: tuple[Annotated[float, Field(gt=0, le=100)], ...] = ()
    """Synthetic rows per real row, such as [0.25, 0.5, 1, 2, 3]: one arm real+both@…x for each."""
    sizes: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    """Shares of the real places, such as [0.1, 0.25, 0.5]: the arms real@…% and real+both@…% for
    each. Generators and labeller have seen all places, unless split.held_back_share hides some."""
    seeds: int = Field(default=3, ge=1)
    """Segmenter seeds per arm; at least 3 for a figure that is shown, 5 for a claim. With 1 there
    is no spread, but that of the seeds of `terraloom cross-validate`."""
    training: TrainingSettings = TrainingSettings()
    """The same for every arm: only the rows differ."""
    draws: int = Field(default=10_000, ge=100)
    """Bootstrap draws over places and seeds."""

    _published = model_validator(mode="before")(_with_preset)

    @property
    def every_arm(self) -> tuple[str, ...]:
        """Arms by name, those of ratios and sizes included."""
        curve = [f"real+both@{ratio:g}x" for ratio in self.ratios]
        for size in self.sizes:
            curve += [f"real@{100 * size:g}%", f"real+both@{100 * size:g}%"]
        return tuple(dict.fromkeys([*self.arms, *curve]))


class Settings(Section):
    """A whole settings file."""

    project: ProjectSettings = ProjectSettings()
    """Name and seed."""
    classes: ClassesSettings = ClassesSettings(preset="worldcover7")
    """Class table."""
    sources: dict[str, dict[str, Any]] = {"world": {}}
    """Exactly one source and its options."""
    cut: CutSettings = CutSettings()
    """Patches and filters."""
    split: SplitSettings = SplitSettings()
    """Roles."""
    segment: SegmentSettings = SegmentSettings()
    """The labeller."""
    segmenters: dict[str, dict[str, Any]] = {}
    """Options of segmenters by name."""
    generate: GenerateSettings = GenerateSettings()
    """Numbers of samples."""
    generators: dict[str, dict[str, Any]] = {"spade": {}, "flow": {}}
    """The generators in use and their options."""
    label: LabelSettings = LabelSettings()
    """Thresholds of labels."""
    caption: CaptionSettings = CaptionSettings()
    """The captioner in use."""
    captioners: dict[str, dict[str, Any]] = {}
    """Options of captioners by name."""
    score: ScoreSettings = ScoreSettings()
    """The scorers in use."""
    scorers: dict[str, dict[str, Any]] = {}
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


FAMILY_SECTIONS: Final = ("sources", "segmenters", "generators", "captioners", "scorers")


def load_settings(path: Path) -> Settings:
    """Read and validate a settings file, members' options included.

    Raises:
        SettingsError: the file is missing or malformed, a key is unknown (the nearest valid key is
            named), a value is out of range, or an environment variable is not set.
        UnknownMember: a family table or stage names a member that does not exist.
    """
    if path.is_dir():
        path = path / CONFIG_NAME
    if not path.exists():
        raise SettingsError(
            f"no settings file at {path}. "
            f"Write one with: terraloom init {path.parent if path.suffix else path}"
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    return settings_from(raw, base=path.parent, origin=str(path))


def settings_from(
    raw: Mapping[str, Any], *, base: Path | None = None, origin: str = "settings"
) -> Settings:
    """Validate settings given as nested mappings.

    Args:
        raw: as TOML parses.
        base: folder that relative paths of sources are resolved against; left out, they stay.
        origin: file named in errors.
    """
    expanded = _expand(raw, origin)
    settings = _validated(Settings, expanded, "", origin)
    asked = {
        "sources": [*settings.sources],
        "segmenters": [
            *settings.segmenters,
            settings.segment.architecture,
            *settings.benchmark.architectures,
        ],
        "generators": [*settings.generators],
        "captioners": [*settings.captioners, settings.caption.captioner],
        "scorers": [*settings.scorers, *settings.score.scorers],
    }
    for family, names in asked.items():
        for name in dict.fromkeys(names):
            member_settings(settings, family, name, origin)
    _check_crops(settings, origin)
    try:
        settings.classes.class_table()
    except ValidationError as error:
        lines = [_explain(problem, ClassTable, "classes") for problem in error.errors()]
        raise SettingsError(f"{origin}: " + "; ".join(lines)) from error
    known = settings.classes.class_table().names
    for quota in settings.curate.quotas:
        if quota.class_name not in known:
            raise SettingsError(
                f"{origin}: curate.quotas names the class {quota.class_name!r}; there are: "
                f"{', '.join(known)}."
            )
    from terraloom.arms import check_arms

    check_arms(settings.benchmark.every_arm)
    if base is not None:
        resolved = {
            name: _resolve_paths(options, base) for name, options in settings.sources.items()
        }
        settings = settings.model_copy(update={"sources": resolved})
    return settings


def _check_crops(settings: Settings, origin: str) -> None:
    """Architectures that need large crops are told before any training is done."""
    for where, names, crop in (
        (
            "segment.training",
            (settings.segment.architecture,),
            settings.segment.training.crop_size,
        ),
        (
            "benchmark.training",
            settings.benchmark.architectures,
            settings.benchmark.training.crop_size,
        ),
    ):
        for name in names:
            least = getattr(families.member("segmenters", name), "MIN_CROP_SIZE", 0)
            if crop < least:
                raise SettingsError(
                    f"{origin}: {where}.crop_size = {crop} is too small for {name}, which needs "
                    f"{least}. Use larger crops (and patches), or another architecture."
                )


def member_settings(
    settings: Settings, family: str, name: str, origin: str = "settings"
) -> BaseModel:
    """The validated `Settings` of one member in use.

    Raises:
        UnknownMember: there is no such member.
        SettingsError: its options are wrong.
    """
    module = families.member(family, name)
    model: type[BaseModel] = module.Settings
    return _validated(model, settings.options(family, name), f"{family}.{name}", origin)


def _validated(model: type[Model], raw: Mapping[str, Any], where: str, origin: str) -> Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem, model, where) for problem in error.errors()]
        raise SettingsError(f"{origin}: " + "; ".join(lines)) from error


def _explain(problem: Any, model: type[BaseModel], where: str) -> str:  # noqa: ANN401
    location = [str(part) for part in problem["loc"]]
    key = ".".join(filter(None, [where, *location]))
    if problem["type"] == "extra_forbidden":
        valid = _valid_keys(model, location[:-1])
        near = get_close_matches(location[-1], valid, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(valid)}"
        return f"unknown key {key!r}; {hint}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _valid_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Keys that the table at `path` may hold."""
    current: Any = model
    for part in path:
        if part.isdigit():
            continue
        current = _inner_model(current.model_fields[part].annotation)
    return sorted(current.model_fields)


def _inner_model(annotation: Any) -> Any:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _expand(value: Any, origin: str) -> Any:  # noqa: ANN401 - any TOML value
    if isinstance(value, str):

        def replace(match: re.Match[str]) -> str:
            name = match.group(1)
            if not os.environ.get(name):
                raise SettingsError(
                    f"{origin}: the environment variable {name} is not set; "
                    f"set it before the run, as in: export {name}=/path/to/data"
                )
            return os.environ[name]

        return _VARIABLE.sub(replace, value)
    if isinstance(value, Mapping):
        return {key: _expand(inner, origin) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner, origin) for inner in value]
    return value


def _resolve_paths(options: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A source's `folder` and `polygons` are relative to the settings file."""
    resolved = dict(options)
    for key in ("folder", "polygons"):
        if isinstance(resolved.get(key), str):
            resolved[key] = str((base / resolved[key]).resolve())
    return resolved
