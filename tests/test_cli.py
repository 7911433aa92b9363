"""The command line: wrong input ends with one line and exit code 2, and leaves nothing behind."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from terraloom import families
from terraloom.cli import app, main
from terraloom.stages import STAGES
from terraloom.tables import Table
from terraloom.testing import tiny_project
from tests.sources.killed_build import write_project
from tests.sources.worldcover_mirror import Mirror

COMMANDS = {
    "demo", "init", "run", "status", "predict", "world", "export", "members",
    *(stage.name for stage in STAGES),
}  # fmt: skip
STAGE_FOLDERS = {stage.name for stage in STAGES}

FOLDER = """\
[sources.folder]
folder = "data"

[[classes.table]]
name = "water"
colour = [0, 0, 255]
codes = [1]

[[classes.table]]
name = "crop"
colour = [255, 215, 0]
codes = [2]

[cut]
patch_size = 32

[segment.training]
crop_size = 32

[generate]
size = 32

[benchmark.training]
crop_size = 32
"""


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run a command line; returns exit code, standard output and standard error."""

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["terraloom", *map(str, args)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def refused(cli):
    """Run a command line that must end with exit code 2; returns its one message."""

    def call(*args, code=2):
        found, out, err = cli(*args)
        assert found == code, err
        assert "Traceback" not in err
        assert out == ""
        messages = [line for line in err.splitlines() if line.startswith("terraloom: ")]
        assert len(messages) == 1
        assert err.rstrip().splitlines()[-1] == messages[0]
        return messages[0]

    return call


@pytest.fixture
def project(tmp_path):
    """Folder with tiny settings; `edit` replaces text in them."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "terraloom.toml").write_text(tiny_project())
    return folder


def edit(folder, old, new):
    path = folder / "terraloom.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def nothing_written(folder):
    return sorted(path.name for path in folder.iterdir()) == ["terraloom.toml"]


@pytest.fixture
def pairs(tmp_path):
    """A project on six image-mask pairs of 64 × 48 pixels."""
    folder = tmp_path / "pairs"
    random = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / "data" / kind).mkdir(parents=True)
    for index in range(6):
        image = random.integers(0, 255, (48, 64, 3)).astype(np.uint8)
        mask = random.integers(1, 3, (48, 64)).astype(np.uint8)
        Image.fromarray(image).save(folder / "data" / "images" / f"p{index}.png")
        Image.fromarray(mask).save(folder / "data" / "masks" / f"p{index}.png")
    (folder / "terraloom.toml").write_text(FOLDER)
    return folder


def no_stage_left(folder):
    return not STAGE_FOLDERS & {path.name for path in folder.iterdir()}


def test_the_pairs_of_these_tests_are_sound(cli, pairs):
    code, _, err = cli("build", pairs)
    assert code == 0, err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("patch_size = 64", "patchsize = 64", "unknown key 'cut.patchsize'; did you mean 'patch_"),
        ("patch_size = 64", "patch_size = 50", "cut.patch_size: Input should be a multiple of 32"),
        (
            "patch_size = 64",
            'patch_size = "big"',
            "cut.patch_size: Input should be a valid int",
        ),
        ("threads = 1", "threads = -1", "project.threads: Input should be greater than or equal"),
        ("[cut]", "[cutt]", "unknown key 'cutt'; did you mean 'cut'?"),
        ("widths = [8, 16]", "width = [8]", "unknown key 'generators.flow.width'; did you mean"),
        (
            "[generate]\nsize = 64",
            "[generate]\nsize = 96",
            "generate.size = 96 is larger than cut.patch_size = 64",
        ),
        ("crop_size = 64", "crop_size = 96", "segment.training.crop_size = 96 is larger than"),
        (
            "seeds = 2",
            'seeds = 2\narchitectures = ["unet", "pan"]',
            "benchmark.training.crop_size = 64 is too small for pan, which needs 128",
        ),
        ("[project]", "[project", "is not valid TOML"),
        ("[sources.world]", "[sources.wold]", "sources has no member 'wold'; there are: "),
        ("[generators.flow]", "[generators.flaw]", "generators has no member 'flaw'; there are: "),
        ("[scorers.embedding]", "[scorers.embeding]", "Did you mean 'embedding'?"),
        ("seeds = 2", 'seeds = 2\narms = ["synthetic"]', "benchmark.arms needs a control"),
        ("seeds = 2", 'seeds = 2\narms = ["rael"]', "benchmark.arms has no arm 'rael'; there are"),
        ("seeds = 2", 'seeds = 2\narchitectures = ["unett"]', "segmenters has no member 'unett'"),
        ('name = "tiny"', 'name = "${TERRALOOM_UNSET}"', "variable TERRALOOM_UNSET is not set"),
    ],
)
def test_wrong_settings_are_told_before_anything_is_written(old, new, told, refused, project):
    edit(project, old, new)
    for command in (("run", project), ("run", project, "--dry-run"), ("build", project)):
        message = refused(*command)
        assert told in message
    assert nothing_written(project)


def test_an_unknown_member_lists_those_there_are(refused, project):
    edit(project, "[generators.flow]", "[generators.gan]")
    message = refused("run", project)
    for name in families.members("generators"):
        assert name in message


def test_a_missing_settings_file_names_the_way_to_one(refused, tmp_path):
    message = refused("run", tmp_path / "nowhere")
    assert "no settings file at" in message
    assert "terraloom init" in message


def test_a_mask_with_an_unknown_code_is_named_with_the_code(refused, pairs):
    mask = np.ones((48, 64), np.uint8)
    mask[3, 5] = 77
    Image.fromarray(mask).save(pairs / "data" / "masks" / "p4.png")
    message = refused("run", pairs)
    assert "p4.png" in message
    assert "77" in message
    assert no_stage_left(pairs)


def test_an_image_without_mask_is_named(refused, pairs):
    (pairs / "data" / "masks" / "p2.png").unlink()
    message = refused("run", pairs)
    assert "p2.png: image without mask" in message
    assert sorted(p.name for p in pairs.iterdir()) == ["data", "terraloom.toml"]


def test_a_mask_without_image_is_named(refused, pairs):
    (pairs / "data" / "images" / "p2.png").unlink()
    assert "p2.png: mask without image" in refused("run", pairs)
    assert no_stage_left(pairs)


def test_sizes_that_differ_are_both_told(refused, pairs):
    Image.fromarray(np.ones((48, 60), np.uint8)).save(pairs / "data" / "masks" / "p1.png")
    message = refused("run", pairs)
    assert "p1.png is 64×48 pixels, its mask p1.png 60×48" in message
    assert no_stage_left(pairs)


@pytest.mark.parametrize("damage", ["truncated", "no image at all"])
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_damaged_image_is_named_and_the_rest_goes_on(damage, kind, cli, pairs):
    path = pairs / "data" / kind / "p3.png"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"hello")
    code, _, err = cli("build", pairs)
    assert code == 0
    assert "p3.png" in err
    assert "left out" in err
    filters = json.loads((pairs / "build" / "filters.json").read_text())
    assert "p3.png" in " ".join([*filters["left_out"], *filters["left_out"].values()]) + " ".join(
        filters["unreadable"]
    )
    assert filters["funnel"]["kept"] == 10  # two patches of each of the other five


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_damaged_image_ends_the_run_where_that_is_asked_for(kind, refused, pairs):
    (pairs / "data" / kind / "p3.png").write_bytes(b"hello")
    edit(pairs, "[sources.folder]", '[sources.folder]\nunreadable = "error"')
    assert "p3.png" in refused("build", pairs)
    assert no_stage_left(pairs)


def test_a_folder_that_is_not_there_is_named(refused, pairs):
    shutil.rmtree(pairs / "data" / "images")
    assert "images" in refused("run", pairs)
    assert no_stage_left(pairs)


def test_no_patch_left_names_the_filter_that_took_them(refused, pairs):
    edit(pairs, "patch_size = 32", "patch_size = 32\nmax_class_share = { water = 0.1 }")
    message = refused("run", pairs)
    assert "'too much water' took 12" in message
    assert "cut.max_class_share" in message
    assert no_stage_left(pairs)


def test_a_filter_of_an_unknown_class_names_the_classes(refused, pairs):
    edit(pairs, "patch_size = 32", "patch_size = 32\nmax_class_share = { lake = 0.1 }")
    assert "'lake'; the classes are water, crop" in refused("run", pairs)
    assert no_stage_left(pairs)


def test_scenes_smaller_than_a_patch_are_told(refused, pairs):
    edit(pairs, "patch_size = 32", "patch_size = 128")
    for _ in ("segment", "benchmark"):
        edit(pairs, "crop_size = 32", "crop_size = 64")
    edit(pairs, "[generate]\nsize = 32", "[generate]\nsize = 64")
    assert "no scene is as large as cut.patch_size = 128" in refused("run", pairs)
    assert no_stage_left(pairs)


def test_an_output_that_cannot_be_written_is_named(refused, project, tmp_path):
    (tmp_path / "file").write_text("keep me")
    for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc/terraloom"):
        message = refused("run", project, "--out", out)
        assert f"cannot create the folder {out}" in message
    assert (tmp_path / "file").read_text() == "keep me"
    assert nothing_written(project)
    assert "cannot create" in refused("demo", "--out", tmp_path / "file")
    assert "cannot create" in refused("init", tmp_path / "file")
    assert "cannot create" in refused("world", tmp_path / "file", "--height", 64, "--width", 64)


def test_an_unknown_stage_lists_those_there_are(refused, project):
    message = refused("run", project, "--until", "lable")
    assert "there is no stage 'lable'; there are: build, segment" in message
    assert nothing_written(project)


def test_an_unknown_engine_is_refused(refused, project):
    assert "'spark' is unknown; there is: local" in refused("run", project, "--engine", "spark")
    assert nothing_written(project)


def test_a_stage_whose_forerunner_is_missing_ends_with_exit_code_one(refused, project):
    message = refused("segment", project, code=1)
    assert "stage build is not done" in message
    assert "terraloom run --until build" in message


def test_status_of_no_project_is_refused(refused, tmp_path):
    assert "is no project" in refused("status", tmp_path)
    assert "is no project" in refused("status", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_init_never_overwrites(cli, refused, tmp_path):
    assert cli("init", tmp_path)[0] == 0
    text = (tmp_path / "terraloom.toml").read_text()
    assert "exists already" in refused("init", tmp_path)
    assert (tmp_path / "terraloom.toml").read_text() == text


def test_what_init_writes_can_be_run(cli, tmp_path):
    cli("init", tmp_path)
    code, out, _ = cli("run", tmp_path, "--dry-run", "--json")
    assert code == 0
    assert len(json.loads(out)["stages"]) == len(STAGES)


def test_a_dry_run_tells_every_stage_and_writes_nothing(cli, project):
    code, out, _ = cli("run", project, "--dry-run")
    assert code == 0
    for stage in STAGES:
        assert stage.name in out
    assert nothing_written(project)


def test_json_output_parses_and_nothing_else_is_printed(cli, finished_project, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(finished_project, folder)
    code, out, _ = cli("run", folder, "--json")
    assert code == 0
    results = json.loads(out)
    assert {"table", "verdicts", "sentence", "report"} <= set(results)
    code, out, _ = cli("status", folder, "--json")
    assert {line["state"] for line in json.loads(out)["stages"]} == {"done"}
    code, out, _ = cli("curate", folder, "--json")
    assert json.loads(out)["stage"] == "curate"
    code, out, _ = cli("members", "--json")
    assert set(json.loads(out)) == set(families.FAMILIES)


def test_the_captioning_benchmark_says_how_it_is_switched_on(refused, finished_project):
    message = refused("benchmark-captions", finished_project)
    assert "the captioning benchmark is off" in message
    assert 'arms = ["real"' in message


def test_a_finished_run_prints_table_and_verdict(cli, finished_project, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(finished_project, folder)
    code, out, err = cli("run", folder)
    assert code == 0
    assert "Verdict:" in out
    assert "real+both" in out
    assert "report.html" in out
    assert err.count("done before") == len(STAGES)


def test_status_of_a_finished_project_needs_no_settings_file(cli, finished_project, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(finished_project, folder)
    (folder / "terraloom.toml").unlink()
    code, out, _ = cli("status", folder, "--json")
    assert code == 0
    assert {line["state"] for line in json.loads(out)["stages"]} == {"done"}


def test_every_command_is_in_the_help_and_has_its_own(cli):
    code, out, _ = cli("--help")
    assert code == 0
    listed = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert listed >= COMMANDS
    for name in listed:
        assert name in out
        code, own, _ = cli(name, "--help")
        assert code == 0
        assert "Usage: " in own


def test_members_are_listed_with_a_line_each(cli):
    _, out, _ = cli("members")
    for family in families.FAMILIES:
        assert family in out
        for name in families.members(family):
            assert name in out


def test_the_world_bears_official_names(cli, tmp_path):
    code, out, _ = cli("world", tmp_path, "--height", 64, "--width", 64)
    assert code == 0
    names = sorted(path.name for path in tmp_path.glob("*.tif"))
    assert any(name.startswith("ESA_WorldCover_10m_2021_v200_") for name in names)
    for name in names:
        assert name in out


def test_an_export_is_written_once_into_an_empty_folder(cli, refused, finished_project, tmp_path):
    code, out, _ = cli("export", "folder", finished_project, tmp_path / "out")
    assert code == 0
    count = len((tmp_path / "out" / "index.csv").read_text().splitlines())
    assert f"wrote {count} samples" not in out  # captions hold line feeds
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2 * int(out.split()[1])
    assert "is not empty" in refused("export", "folder", finished_project, tmp_path / "out")
    assert "exporters has no member 'floder'" in refused(
        "export", "floder", finished_project, tmp_path / "other"
    )
    assert not (tmp_path / "other").exists()


def test_an_export_of_no_project_is_refused(refused, tmp_path):
    message = refused("export", "folder", tmp_path, tmp_path / "out", code=1)
    assert "holds no finished table" in message
    assert not (tmp_path / "out").exists()


# What a source would fetch


@pytest.fixture
def mirrored(tmp_path):
    """A project on a folder in the open buckets' layout, and its two places."""
    mirror = Mirror(tmp_path / "mirror")
    places = [mirror.place(39, 33, side=252), mirror.place(-1, -51, side=252)]
    folder = write_project(
        tmp_path / "mirrored", str(mirror.folder), ("N39E033", "S01W051", "N00W151")
    )
    return folder, places


def test_a_dry_run_tells_download_disk_patches_and_time_and_writes_nothing(cli, mirrored):
    folder, places = mirrored
    for command in (("run", folder, "--dry-run"), ("status", folder)):
        code, out, _ = cli(*command)
        assert code == 0
        assert re.search(r"download: 9 of 9 files left, \d+\.\d [kM]B, about ", out), out
        assert "at 40 Mbit/s" in out
        assert "on disk" in out
        assert "estimates from the area" not in out
        assert "patches: at most " in out
        assert nothing_written(folder)
    code, out, _ = cli("run", folder, "--dry-run", "--json")
    told = json.loads(out)["build"]
    assert told["download"]["items"] == 9
    assert not told["download"]["estimated"]
    stored = sum(path.stat().st_size for place in places for path in place.files.values())
    assert told["download"]["download_bytes"] == pytest.approx(stored, rel=0.05)
    assert told["patch_size"] == 32
    assert told["patch_bytes"] > 0
    assert json.loads(out)["seconds"] > told["download"]["seconds"]
    assert nothing_written(folder)


def test_a_dry_run_without_an_answer_says_that_sizes_are_estimates(cli, mirrored):
    folder, _ = mirrored
    path = folder / "terraloom.toml"
    path.write_text(
        re.sub(r'(maps|composites)_url = ".*"', r'\1_url = "http://127.0.0.1:9"', path.read_text())
    )
    _, out, _ = cli("run", folder, "--dry-run")
    assert "these sizes are only estimates from the area: the server did not answer" in out
    assert "left, about 1." in out
    assert " GB" in out
    _, out, _ = cli("run", folder, "--dry-run", "--json")
    assert json.loads(out)["build"]["download"]["estimated"]
    assert nothing_written(folder)


def test_a_source_that_fetches_nothing_tells_patches_alone(cli, project):
    _, out, _ = cli("run", project, "--dry-run")
    assert "download:" not in out
    assert "patches: at most 16 of 64 px, about 137.6 kB on disk, twice that" in out


def test_what_failed_for_good_is_tried_again_when_that_is_asked_for(cli, mirrored):
    folder, places = mirrored
    path = places[0].files["S2RGBNIR"]
    path.rename(path.with_suffix(".away"))
    code, _, err = cli("build", folder)
    assert code == 0, err
    assert f"left out {path.name}" in err
    rows = Table.open(folder / "build" / "samples").num_rows
    path.with_suffix(".away").rename(path)
    code, _, err = cli("build", folder)
    assert code == 0
    assert "build: done before" in err
    code, _, err = cli("build", folder, "--retry-failed")
    assert code == 0, err
    # The composite, and the map of the open sea.
    assert "to be tried again: 2 that could not be fetched or captioned" in err
    assert Table.open(folder / "build" / "samples").num_rows > rows
    code, out, _ = cli("run", folder, "--until", "build", "--retry-failed")
    assert code == 0
    _, out, _ = cli("status", folder, "--json")
    assert json.loads(out)["build"] is None


def test_trying_again_is_refused_where_nothing_is_fetched(refused, project):
    message = refused("build", project, "--retry-failed")
    assert "[sources.world] fetches nothing and [captioners.template] asks no model" in message
    assert nothing_written(project)
    message = refused("run", project, "--dry-run", "--retry-failed")
    assert "--dry-run does nothing" in message
    assert nothing_written(project)


def test_a_dry_run_tells_the_section_that_a_stage_is_off_by(cli, tmp_path):
    (tmp_path / "terraloom.toml").write_text(tiny_project(), encoding="utf-8")
    code, out, _ = cli("run", tmp_path, "--dry-run")
    assert code == 0
    assert "[caption_benchmark]" in out
