"""Reading a settings file: values of the environment, every key checked, the nearest one named."""

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from terraloom import families
from terraloom.classes import ClassTable
from terraloom.errors import SettingsError
from terraloom.settings.whole import Settings

CONFIG_NAME: Final = "terraloom.toml"

Model = TypeVar("Model", bound=BaseModel)

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
