"""An annotated terraloom.toml, written from the settings models: every default, every docstring."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from terraloom import families
from terraloom.settings import Settings

_HEADER: Final = """\
# Settings of a terraloom project. Every key stands here with its default; delete what you keep.
# Run with:  terraloom run .      What would be done:  terraloom run . --dry-run
"""
_FAMILIES: Final = {
    "sources": ("world",),
    "segmenters": ("unet",),
    "generators": ("spade", "flow"),
    "captioners": ("template",),
    "scorers": ("embedding",),
}


def annotated_settings() -> str:
    """The text of a settings file that validates to the defaults."""
    settings = Settings()
    lines = [_HEADER]
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            lines += _section(name, value, field.description or "")
            continue
        lines.append(f"# {field.description} There are: {', '.join(families.members(name))}.")
        for member_name in _FAMILIES.get(name, ()):
            model = families.member(name, member_name).Settings()
            lines += _section(
                f"{name}.{member_name}", model, families.description(name, member_name)
            )
    return "\n".join(lines).rstrip() + "\n"


def write_annotated(path: Path) -> None:
    """Write the annotated settings atomically."""
    from terraloom.files import write_text

    write_text(path, annotated_settings())


def _section(name: str, model: BaseModel, description: str) -> list[str]:
    lines = [f"# {description}", f"[{name}]"]
    nested: list[str] = []
    for key, field in type(model).model_fields.items():
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            nested += _section(f"{name}.{key}", value, field.description or "")
            continue
        comment = " ".join((field.description or "").split())
        if comment:
            lines.append(f"# {comment}")
        if value is None or value in ((), {}):
            lines.append(f"# {key} =")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            entries = [v.model_dump(mode="json", exclude_none=True) for v in value]
            body = ",\n    ".join(_inline(entry) for entry in entries)
            lines.append(f"{key} = [\n    {body},\n]")
        else:
            lines.append(f"{key} = {_toml(value)}")
    return [*lines, "", *nested]


def _toml(value: Any) -> str:  # noqa: ANN401 - any settings value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, dict):
        return _inline(value)
    return json.dumps(str(value), ensure_ascii=False)


def _inline(value: dict[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + " }"
