"""A folder is the registry, a file's name its member's name."""

import importlib.metadata
import subprocess
import sys
import types
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

import terraloom
from terraloom import families
from terraloom.errors import UnknownMember

EVERY = [(family, name) for family in families.FAMILIES for name in families.members(family)]


def test_members_are_the_files_without_an_underscore_in_alphabetical_order() -> None:
    for family in families.FAMILIES:
        folder = Path(terraloom.__file__).parent / family
        files = sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))
        own = [name for name in families.members(family) if name in files]
        assert own == files
    assert {"folder", "tiles", "world"} <= set(families.members("sources"))


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_a_member_has_frozen_settings_a_builder_and_a_line_of_description(
    family: str, name: str
) -> None:
    module = families.member(family, name)
    assert issubclass(module.Settings, BaseModel)
    assert module.Settings.model_config["frozen"] is True
    assert callable(module.build)
    line = families.description(family, name)
    assert line.endswith((".", "?"))
    assert line == (module.__doc__ or "").splitlines()[0]


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_a_members_settings_refuse_unknown_keys(family: str, name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        families.member(family, name).Settings.model_validate({"no_such_option": 1, "folder": "x"})


def test_an_unknown_member_lists_all_and_names_the_nearest() -> None:
    with pytest.raises(
        UnknownMember,
        match=r"sources has no member 'wrld'; there are: .*tiles, world, worldcover\. Did you mean "
        r"'world'\?",
    ):
        families.member("sources", "wrld")
    with pytest.raises(UnknownMember, match=r"worldcover\.$"):
        families.member("sources", "zzz")


def test_a_path_or_a_private_module_is_no_member() -> None:
    for name in ("_face", "..errors", "folder.Settings", ""):
        with pytest.raises(UnknownMember):
            families.member("sources", name)


def test_other_packages_add_members_through_entry_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("my_source", "Photographs of my own.\n\nMore.")
    point = importlib.metadata.EntryPoint("mine", "my_source", "terraloom.sources")
    monkeypatch.setitem(sys.modules, "my_source", module)
    monkeypatch.setattr(
        families, "entry_points", lambda group: [point] if group == point.group else []
    )
    assert "mine" in families.members("sources")
    assert "mine" not in families.members("scorers")
    assert families.member("sources", "mine") is module
    assert families.description("sources", "mine") == "Photographs of my own."


def test_an_entry_point_that_is_no_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("mine", "pathlib:Path", "terraloom.sources")
    monkeypatch.setattr(families, "entry_points", lambda group: [point])
    with pytest.raises(UnknownMember, match=r"'mine' of terraloom\.sources is not a module"):
        families.member("sources", "mine")


def test_listing_members_imports_none_of_them() -> None:
    code = (
        "import sys; from terraloom import families;"
        "[families.members(f) for f in families.FAMILIES];"
        "print([m for m in sys.modules if m.count('.') > 1 and m.startswith('terraloom.')],"
        "'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"
