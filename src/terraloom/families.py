"""Families: a folder of modules is the registry, a file's name is its member's name.

A member is a module with a frozen pydantic model `Settings` and a function `build`, which returns
an object with the family's face (`_face.py` of the folder). Other packages add members through
entry points of the group `terraloom.<family>`. Nothing is imported before it is asked for.
"""

import importlib
import pkgutil
from difflib import get_close_matches
from importlib.metadata import entry_points
from types import ModuleType
from typing import Final

from terraloom.errors import UnknownMember

FAMILIES: Final = ("sources", "segmenters", "generators", "captioners", "scorers", "exporters")


def members(family: str) -> tuple[str, ...]:
    """Names of a family's members in alphabetical order, without importing any of them."""
    package = importlib.import_module(f"terraloom.{family}")
    own = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]
    others = [point.name for point in entry_points(group=f"terraloom.{family}")]
    return tuple(sorted({*own, *others}))


def member(family: str, name: str) -> ModuleType:
    """The module of one member, imported on first use.

    Raises:
        UnknownMember: the family has no such member; lists those there are.
    """
    names = members(family)
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownMember(
            f"{family} has no member {name!r}; there are: {', '.join(names)}.{hint}"
        )
    for point in entry_points(group=f"terraloom.{family}"):
        if point.name == name:
            loaded = point.load()
            if not isinstance(loaded, ModuleType):
                raise UnknownMember(
                    f"entry point {name!r} of terraloom.{family} is not a module; "
                    "point it at a module with Settings and build."
                )
            return loaded
    return importlib.import_module(f"terraloom.{family}.{name}")


def description(family: str, name: str) -> str:
    """First line of the member's module docstring."""
    return (member(family, name).__doc__ or "").strip().splitlines()[0]
