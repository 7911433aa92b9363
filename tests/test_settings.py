"""terraloom.toml: what is refused, and in which words."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from terraloom import families
from terraloom.classes import preset
from terraloom.errors import SettingsError, UnknownMember
from terraloom.settings import (
    FAMILY_SECTIONS,
    ClassesSettings,
    Settings,
    load_settings,
    member_settings,
    settings_from,
)
from terraloom.settings_file import annotated_settings, write_annotated

LAND = [
    {"name": "dry", "colour": [200, 100, 0], "codes": [0]},
    {"name": "wet", "colour": [0, 0, 200], "codes": [1]},
]


def parse(text: str) -> Settings:
    return settings_from(tomllib.loads(text), origin="terraloom.toml")


def test_an_empty_file_gives_the_defaults() -> None:
    assert parse("") == Settings()
    assert Settings().source_name == "world"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cut]\npatch_sise = 64", "unknown key 'cut.patch_sise'; did you mean 'patch_size'?"),
        ("[cutt]\npatch_size = 64", "unknown key 'cutt'; did you mean 'cut'?"),
        (
            "[benchmark.training]\nlearnin_rate = 1",
            "unknown key 'benchmark.training.learnin_rate'; did you mean 'learning_rate'?",
        ),
        (
            '[[curate.rules]]\ncolumn = "a"\nmin = 0\n[[curate.rules]]\ncolum = "b"\nmin = 0',
            "unknown key 'curate.rules.1.colum'; did you mean 'column'?",
        ),
        (
            '[[classes.table]]\nname = "dry"\ncolor = [1, 2, 3]',
            "unknown key 'classes.table.0.color'; did you mean 'colour'?",
        ),
        (
            "[sources.world]\nheigth = 640",
            "unknown key 'sources.world.heigth'; did you mean 'height'?",
        ),
        (
            "[segmenters.unet]\nencodr = 'x'",
            "unknown key 'segmenters.unet.encodr'; did you mean 'encoder'?",
        ),
        ("[split]\nzzz = 1", "unknown key 'split.zzz'; valid keys: attempts, block_size_m, "),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_valid_one(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("terraloom.toml: ")


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse("[cut]\npatch_sise = 64\npatch_size = 33\n[project]\nseed = -1")
    for words in ("cut.patch_sise", "cut.patch_size: Input should be a multiple of 32", "seed"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[split]\nval_share = 1.0", "split.val_share: Input should be less than 1"),
        ('[split]\nby = "tile"', "split.by: Input should be 'auto', 'place' or 'block'"),
        ("[cut]\npatch_size = 32", "segment.training.crop_size = 64 is larger than cut.patch_size"),
        (
            "[segment.training]\ncrop_size = 32",
            "segment.training.crop_size = 32 is too small a part of cut.patch_size = 128",
        ),
        ("[generate]\nsize = 256", "generate.size = 256 is larger than cut.patch_size = 128"),
        (
            "[generate]\nsize = 32",
            "benchmark.training.crop_size = 64 is larger than generate.size = 32",
        ),
        ("[sources.world]\n[sources.folder]\nfolder = 'x'", "exactly one [sources.<name>] table"),
        ("[sources]", "exactly one [sources.<name>] table is needed, found none"),
        ("[sources.folder]", "sources.folder.folder: Field required"),
        ("[sources.world]\nheight = 10", "sources.world.height: Input should be greater"),
        ('[[curate.rules]]\ncolumn = "a"', "curate.rules.0: a rule needs min or max"),
        ('[classes]\npreset = "worldcover9"', "there are worldcover7, worldcover11"),
        ("[classes]", "classes: give preset (one of worldcover7, worldcover11) or"),
        ('[classes]\npreset = "worldcover7"\nignore_codes = [0]', "either preset or table"),
        ('[benchmark]\narms = ["reel"]', "reel"),
    ],
)
def test_a_wrong_value_is_told_by_its_key(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([LAND[0], LAND[1] | {"codes": [0]}], r"s: classes: codes \[0\] are given to more than"),
        ([LAND[0], LAND[0] | {"codes": []}], "class names must differ"),
        ([LAND[0]], "classes.classes: Tuple should have at least 2 items"),
    ],
)
def test_a_class_table_that_is_wrong_in_itself_is_a_settings_error(
    table: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        settings_from({"classes": {"table": table}})


def test_unknown_members_are_told_wherever_they_are_named() -> None:
    for text in (
        "[sources.wrld]",
        '[segment]\narchitecture = "unett"',
        '[benchmark]\narchitectures = ["unett"]',
        "[generators.spad]",
        '[caption]\ncaptioner = "templat"',
        '[score]\nscorers = ["nearst"]',
    ):
        with pytest.raises(UnknownMember, match="Did you mean"):
            parse(text)


def test_a_class_table_of_ones_own_keeps_its_order_and_ignored_codes() -> None:
    settings = settings_from({"classes": {"table": LAND, "ignore_codes": [-1]}})
    table = settings.classes.class_table()
    assert (table.names, table.ignore_codes) == (("dry", "wet"), (-1,))
    assert ClassesSettings(preset="worldcover11").class_table() == preset("worldcover11")


def test_environment_variables_are_filled_in_anywhere_in_a_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERRALOOM_TEST_DATA", "/data/pairs")
    settings = parse(
        '[sources.folder]\nfolder = "${TERRALOOM_TEST_DATA}/a"\n[project]\nname = "$5 {x} ${'
        'TERRALOOM_TEST_DATA}"'
    )
    assert settings.options("sources", "folder") == {"folder": "/data/pairs/a"}
    assert settings.project.name == "$5 {x} /data/pairs"


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_or_empty_variable_is_told_by_name(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERRALOOM_TEST_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("TERRALOOM_TEST_DATA", value)
    with pytest.raises(SettingsError, match=r"TERRALOOM_TEST_DATA is not set.*export TERRALOOM_T"):
        parse('[sources.folder]\nfolder = "${TERRALOOM_TEST_DATA}"')


def test_a_sources_folder_is_relative_to_the_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "terraloom.toml"
    path.write_text('[sources.folder]\nfolder = "../pairs"\n')
    for asked in (path, tmp_path):  # the file, or the folder that holds it
        settings = load_settings(asked)
        assert settings.options("sources", "folder") == {"folder": str(tmp_path.parent / "pairs")}
    path.write_text('[sources.folder]\nfolder = "/abs/pairs"\n')
    assert load_settings(path).options("sources", "folder") == {"folder": "/abs/pairs"}


def test_a_missing_or_broken_file_is_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no settings file at .*terraloom\.toml.*terraloom in"):
        load_settings(tmp_path)
    path = tmp_path / "terraloom.toml"
    path.write_text("[cut\n")
    with pytest.raises(SettingsError, match=r"terraloom\.toml is not valid TOML: .*line 1"):
        load_settings(path)
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(SettingsError, match="is not valid TOML"):
        load_settings(path)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().cut.patch_size = 64  # type: ignore[misc]


def test_the_annotated_file_validates_to_the_defaults(tmp_path: Path) -> None:
    write_annotated(tmp_path / "terraloom.toml")
    written, default = load_settings(tmp_path), Settings()
    for name in Settings.model_fields:
        if name not in FAMILY_SECTIONS:
            assert getattr(written, name) == getattr(default, name), name
    assert written.source_name == default.source_name
    assert set(written.generators) == set(default.generators)
    for family in FAMILY_SECTIONS:
        for member in getattr(written, family):
            own = families.member(family, member).Settings()
            assert member_settings(written, family, member) == own, (family, member)


def test_the_annotated_file_shows_every_key_with_its_comment() -> None:
    lines = annotated_settings().splitlines()

    def check(model: Any) -> None:
        for key, field in type(model).model_fields.items():
            value = getattr(model, key)
            if hasattr(value, "model_fields_set"):
                check(value)
                continue
            comment = " ".join(field.description.split())
            at = [i for i, line in enumerate(lines) if line == f"# {comment}"]
            assert any(lines[i + 1].removeprefix("# ").startswith(f"{key} =") for i in at), key

    for name in Settings.model_fields:
        if name not in FAMILY_SECTIONS:
            check(getattr(Settings(), name))
