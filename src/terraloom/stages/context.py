"""What every stage works with, and what several of them ask for."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from terraloom import families
from terraloom.classes import ClassTable
from terraloom.files import sha256_of, sha256_of_value
from terraloom.runs import Project
from terraloom.seeds import derive_seed
from terraloom.settings import Settings, member_settings
from terraloom.tables import Table

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from terraloom.captioners._face import Captioner
    from terraloom.dataset.cache import RowCache
    from terraloom.ensemble import Ensemble
    from terraloom.sources._face import Source

SETTINGS_COPY: Final = "settings.json"
"""The validated settings of the last run, in the project folder."""


class Context:
    """What a stage works with: settings, project folder, and the device when it needs one.

    Args:
        settings: of the project.
        folder: of the project.
        inputs: where sources bring what they fetch; left out, a folder of the project's own.
        sibling: a project of the same classes, source and data seed; its source is this one's too,
            so that inputs are listed and hashed once for both.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        inputs: Path | None = None,
        sibling: "Context | None" = None,
    ) -> None:
        self._sibling = sibling
        self.settings = settings
        self.project = Project(folder)
        self.inputs = folder / "inputs" if inputs is None else inputs
        """Where sources bring what they fetch; projects of one source may share it."""
        self.seed = settings.project.seed
        given = settings.project.data_seed
        self.data_seed = self.seed if given is None else given
        self.classes: ClassTable = settings.classes.class_table()

    @cached_property
    def fabric(self) -> "Fabric":
        """The device; importing torch waits until a stage needs it."""
        from terraloom.learning.device import make_fabric

        return make_fabric(self.settings.project.threads)

    @property
    def cache(self) -> "RowCache":
        """How rows for learning are held."""
        from terraloom.dataset.cache import RowCache

        project = self.settings.project
        return RowCache(self.project.folder / "cache", project.cache, project.cache_gb)

    @cached_property
    def source(self) -> "Source":
        """The source in use."""
        if self._sibling is not None:
            return self._sibling.source
        name = self.settings.source_name
        module = families.member("sources", name)
        source: Source = module.build(
            member_settings(self.settings, "sources", name),
            self.classes,
            derive_seed(self.data_seed, "source"),
        )
        return source

    @cached_property
    def captioner(self) -> "Captioner":
        """The captioner in use; what models answer is kept beside the stages."""
        from terraloom.captioners._face import ModelCaptioner

        captioner = self.built_captioner(self.settings.caption.captioner)
        if isinstance(captioner, ModelCaptioner):
            captioner.keep_in(self.project.folder / "answers")
        return captioner

    def built_captioner(self, name: str) -> "Captioner":
        """A captioner with its options."""
        captioner: Captioner = families.member("captioners", name).build(
            member_settings(self.settings, "captioners", name),
            self.classes,
            derive_seed(self.seed, "captions"),
        )
        return captioner

    @property
    def acquired(self) -> Path:
        """Where the source brings its inputs.

        It lies beside the stages, so that another patch size or split never fetches them again;
        another source, area or year has a folder of its own.
        """
        name = self.settings.source_name
        options = member_settings(self.settings, "sources", name).model_dump(mode="json")
        seed = derive_seed(self.data_seed, "source")
        digest = sha256_of_value({"options": options, "seed": seed})
        return self.inputs / f"{name}-{digest[:12]}"

    def path(self, stage: str, *parts: str) -> Path:
        """A path in a stage's folder."""
        return self.project.folder.joinpath(stage, *parts)

    def table(self, stage: str, *parts: str) -> Table:
        """A finished table of a stage."""
        return Table.open(self.path(stage, *parts))


def labeller_names(settings: Settings) -> list[str]:
    """Folders of the labellers in the stage segment, the first of which measures too."""
    return ["labeller", *(f"labeller-{i}" for i in range(2, settings.segment.members + 1))]


def labellers(context: Context, folder: Path) -> tuple["Ensemble", str]:
    """The labellers as they look together, and the checksum of their weights and temperatures.

    Several looks keep the temperature of their mean in `folder`.
    """
    from terraloom.calibration import calibrate_together
    from terraloom.dataset.rows import val_rows
    from terraloom.ensemble import Ensemble
    from terraloom.segmenting import CALIBRATION, load_segmenter

    settings = context.settings
    paths = [context.path("segment", name) for name in labeller_names(settings)]
    members = tuple(load_segmenter(path, context.fabric) for path in paths)
    labeller = Ensemble(members, settings.label.flips)
    files = [path / name for path in paths for name in ("weights.safetensors", CALIBRATION)]
    if labeller.looks > 1:
        val = val_rows(context.table("build", "samples"), cache=context.cache)
        seed = derive_seed(context.seed, "calibration")
        labeller = calibrate_together(labeller, val, folder, seed)
        files = [*(path / "weights.safetensors" for path in paths), folder / CALIBRATION]
    return labeller, sha256_of_value([sha256_of(path) for path in files if path.exists()])


def samples_by_kind(context: Context) -> dict[str, Table]:
    """The sample tables that carry captions: real ones, and synthetic ones with their labels."""
    return {
        "real": context.table("build", "samples"),
        "synthetic": context.table("label", "samples"),
    }
