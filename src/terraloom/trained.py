"""What a model's path stands for: the trained segmenter, its classes, its images' scale."""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from terraloom.classes import PRESETS, ClassTable, preset
from terraloom.errors import InputError, NewerFormat, SettingsError, UnreadableFile
from terraloom.files import read_json, sha256_of
from terraloom.prediction.tiling import STRIDE
from terraloom.samples import DRAWN
from terraloom.settings import ClassesSettings, Settings, settings_from
from terraloom.stages import SETTINGS_COPY, Context

if TYPE_CHECKING:
    from terraloom.segmenting import TrainedSegmenter

_PICKLES: Final = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")
_LABELLER: Final = ("segment", "labeller")
_CLASSES: Final = ("build", "classes.json")
_STATE: Final = "state.json"
_WEIGHTS: Final = "weights.safetensors"
_CHANNELS: Final = 3


@dataclass(frozen=True)
class TrainedModel:
    """A segmenter with what must be known to use it."""

    segmenter: "TrainedSegmenter"
    classes: ClassTable
    sha256: str
    """Of its weights."""
    architecture: str
    scale: tuple[float, float] | None
    """Source values drawn as 0 and 255 in its training; None where no one scale is known."""
    unscaled: str
    """Why there is no scale, where there is none."""
    window: int
    """Side of the tiles that suit it, in pixels, a multiple of 32: the crops of its training, since
    what it makes of the average over a larger image was never learnt."""

    def scale_for(
        self, dtypes: Sequence[str], low: float | None, high: float | None
    ) -> tuple[float, float]:
        """The scale to draw a scene on.

        Args:
            dtypes: of the scene's files.
            low: value to be drawn as 0, where the user gives one.
            high: value to be drawn as 255, where the user gives one.

        Raises:
            InputError: neither the user nor the model's project tells one that can fit.
        """
        if low is not None and high is not None:
            return low, high
        drawn = set(dtypes) == {"uint8"}
        if self.scale is None and not (drawn and low is None and high is None):
            raise InputError(
                f"{self.unscaled}, and the scene holds {'/'.join(sorted(set(dtypes)))} values. "
                "Give the values that are drawn as black and white, as in --low 0 --high 3000."
            )
        known = self.scale or DRAWN
        if low is None and high is None and drawn != (known == DRAWN):
            raise InputError(
                f"the model's images are drawn from the values {known[0]:g} … {known[1]:g}, but "
                f"the scene holds {'/'.join(sorted(set(dtypes)))} values. If that is the same "
                "scale, say so with --low and --high; an image that is drawn already takes "
                "--low 0 --high 255."
            )
        return known[0] if low is None else low, known[1] if high is None else high


def load_model(path: Path, classes: str | None = None) -> TrainedModel:
    """A trained segmenter by its folder, or by the project that trained it.

    Args:
        path: folder of a segmenter, or a project folder, whose labeller it then is.
        classes: preset, classes.json or terraloom.toml; left out, the project's.

    Raises:
        InputError: there is no such model, it is a pickle, damaged, or has other classes or bands.
        NewerFormat: it was written by a newer version.
        SettingsError: `classes` is no class table.
    """
    from terraloom.learning.device import make_fabric
    from terraloom.segmenting import load_segmenter

    folder = _folder_of(path)
    project = _project_of(folder)
    table = _class_table(classes, project, folder)
    state = _state_of(folder)
    recipe = state["recipe"]
    if recipe["num_classes"] != len(table):
        raise InputError(
            f"the model in {folder} tells {recipe['num_classes']} classes apart, the class table "
            f"has {len(table)}: {', '.join(table.names)}. Give the model's own with --classes."
        )
    if len(state["mean"]) != _CHANNELS:
        raise InputError(
            f"the model in {folder} takes {len(state['mean'])} bands; prediction is for models of "
            f"{_CHANNELS} (red, green, blue). Give another model."
        )
    settings = None if project is None else project_settings(project)
    try:
        segmenter = load_segmenter(folder, make_fabric(settings.project.threads if settings else 0))
    except OSError as error:
        raise UnreadableFile(
            f"the model in {folder} cannot be read: {error.strerror or error}. Copy it again, or "
            "allow yourself to read it."
        ) from error
    scale, unscaled = _scale_of(settings)
    return TrainedModel(
        segmenter,
        table,
        sha256_of(folder / _WEIGHTS),
        str(recipe["architecture"]),
        scale,
        unscaled,
        _window_of(recipe["training"]["crop_size"], segmenter.network.min_crop_size),
    )


def project_settings(folder: Path) -> Settings | None:
    """The settings of a project's last run, or None where it never ran.

    Raises:
        UnreadableFile: their record is damaged.
        SettingsError: it holds what this version does not know.
    """
    path = folder / SETTINGS_COPY
    if not path.exists():
        return None
    try:
        raw = read_json(path)
    except ValueError as error:
        raise UnreadableFile(
            f"{path} is damaged ({error}). Delete it, and run terraloom run on the project's own "
            "settings file, which writes it again."
        ) from error
    return settings_from(_without_none(raw), origin=SETTINGS_COPY)


def class_table_of(given: str) -> ClassTable:
    """The class table that a word of the command line names.

    Args:
        given: a preset, or the path of a classes.json or terraloom.toml.

    Raises:
        SettingsError: it is neither.
    """
    path = Path(given)
    named = path.is_file() or path.suffix in (".json", ".toml")
    return read_class_table(path) if named else preset(given)


def read_class_table(path: Path) -> ClassTable:
    """The class table in a classes.json, or in the [classes] of a settings file.

    Raises:
        SettingsError: the file is missing, or holds none.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return ClassesSettings.model_validate(tomllib.loads(text)["classes"]).class_table()
        stored = json.loads(text)
        return ClassTable.model_validate(
            {
                "classes": [
                    {key: value for key, value in land.items() if key != "id"}
                    for land in stored["classes"]
                ],
                "ignore_codes": stored["ignore_codes"],
            }
        )
    except OSError as error:
        raise SettingsError(f"the class table {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        told = " ".join(str(error).split())[:240]
        raise SettingsError(
            f"{path} holds no class table ({told}). Give a classes.json as terraloom build writes "
            "it, or a terraloom.toml with [classes]."
        ) from error


def _folder_of(path: Path) -> Path:
    """The folder of the segmenter that `path` stands for."""
    if path.is_file() and path.suffix.lower() in _PICKLES:
        _refuse_pickle(path)
    if path.is_file():
        raise InputError(
            f"{path} is a file; give the folder that holds {_STATE} and {_WEIGHTS}, such as "
            f"{path.parent}, or a project folder."
        )
    if not path.is_dir():
        raise InputError(f"there is no model at {path}; give a project folder, or a segmenter's.")
    for folder in (path, path / _LABELLER[1], path.joinpath(*_LABELLER)):
        if folder.is_dir():
            pickles = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in _PICKLES]
            if pickles:
                _refuse_pickle(pickles[0])
            if (folder / _STATE).is_file():
                return folder
    what = "a project whose segmenter is not trained yet" if _is_project(path) else "no model"
    raise InputError(
        f"{path} is {what}: there is no {_STATE} of a finished training in it. Give the folder of "
        "a trained segmenter, such as PROJECT/segment/labeller, or run: terraloom segment"
    )


def _refuse_pickle(path: Path) -> None:
    raise InputError(
        f"{path} may be a pickle, which can run any code when it is loaded; terraloom loads "
        f"safetensors only ({_STATE} and {_WEIGHTS}, as terraloom segment writes them). Give a "
        "folder without pickles."
    )


def _is_project(folder: Path) -> bool:
    return folder.joinpath(*_CLASSES).is_file() or (folder / SETTINGS_COPY).is_file()


def _project_of(folder: Path) -> Path | None:
    """The project that a segmenter's folder lies in."""
    return next((f for f in folder.resolve().parents if f.joinpath(*_CLASSES).is_file()), None)


def _state_of(folder: Path) -> dict[str, Any]:
    from terraloom.segmenting import STATE_VERSION

    path = folder / _STATE
    try:
        state: dict[str, Any] = read_json(path)
        if state["version"] > STATE_VERSION:
            raise NewerFormat(
                f"{path} was written by a newer version of terraloom; update terraloom."
            )
        _ = state["recipe"]["num_classes"], state["recipe"]["architecture"], len(state["mean"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableFile(
            f"{path} does not describe a trained segmenter ({type(error).__name__}: {error}). Give "
            "the folder of one, such as PROJECT/segment/labeller, or copy it again."
        ) from error
    if not (folder / _WEIGHTS).is_file():
        raise InputError(f"{folder} has no {_WEIGHTS} beside its {_STATE}; copy the whole folder.")
    return state


def _class_table(classes: str | None, project: Path | None, folder: Path) -> ClassTable:
    if classes is not None:
        return class_table_of(classes)
    if project is not None:
        return read_class_table(project.joinpath(*_CLASSES))
    raise InputError(
        f"{folder} lies in no project, so its classes are not known; give them with --classes: "
        f"{', '.join(PRESETS)}, a classes.json or a terraloom.toml."
    )


def _window_of(crop: int, least: int) -> int:
    """Side of the tiles that suit a model: its crops, in whole strides, and two for an overlap."""
    return max(-(-max(crop, least) // STRIDE), 2) * STRIDE


def _scale_of(settings: Settings | None) -> tuple[tuple[float, float] | None, str]:
    """The scale on which a project's patches were drawn, or why there is none."""
    if settings is None:
        return None, "the model lies in no project that tells the scale of its images"
    if settings.cut.stretch != "fixed":
        return None, (
            f"the model's images were stretched one by one (cut.stretch = "
            f'"{settings.cut.stretch}"), so that no one scale holds'
        )
    low, high = settings.cut.low, settings.cut.high
    if low is None or high is None:
        own = Context(settings, Path()).source.value_range
        low, high = own[0] if low is None else low, own[1] if high is None else high
    return (float(low), float(high)), ""


def _without_none(value: Any) -> Any:  # noqa: ANN401 - JSON values
    """Settings as stored, without the keys that were left out."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value
