"""Tables about data: the project, its classes, how scenes are cut, and who trains and tests."""

from typing import Literal

from pydantic import Field, model_validator

from terraloom.classes import PRESETS, ClassTable, LandClass, preset
from terraloom.settings._section import Section


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
    max_class_share: dict[str, float] = Field(default_factory=dict)
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
    roles: dict[str, Literal["train", "val", "test"]] = Field(default_factory=dict)
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
