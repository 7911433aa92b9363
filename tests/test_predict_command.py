"""`terraloom predict` on models that the real code trained: same labels, one message per error."""

import json
import shutil
import sys

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import Affine
from safetensors.torch import load_file, save_file

from terraloom.classes import UNKNOWN
from terraloom.cli import main
from terraloom.files import read_json, sha256_of, write_json
from terraloom.labelling import final_mask
from terraloom.learning.device import make_fabric
from terraloom.pipeline import Pipeline
from terraloom.samples import decode_view
from terraloom.segmenting import Recipe, load_segmenter, train_segmenter
from terraloom.settings import LabelSettings, load_settings
from terraloom.tables import Table
from terraloom.testing import tiny_project, tiny_training, toy_rows
from terraloom.trained import _window_of

LABELLER = ("segment", "labeller")
DRAWN = ("--low", 0, "--high", 255)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project whose labeller the segmentation stage trained; copy it before you change it."""
    folder = tmp_path_factory.mktemp("trained") / "project"
    folder.mkdir()
    (folder / "terraloom.toml").write_text(tiny_project(segment=128), encoding="utf-8")
    Pipeline(load_settings(folder), folder).run(until="segment")
    return folder


@pytest.fixture
def project(trained, tmp_path):
    """A copy to be spoilt."""
    return shutil.copytree(trained, tmp_path / "project")


@pytest.fixture(scope="module")
def patches(trained):
    """Images of the project's samples, uint8 "height width 3"."""
    table = Table.open(trained / "build" / "samples")
    images = table.read(["image"]).column("image").to_pylist()
    return [decode_view(value) for value in images]


@pytest.fixture
def scene(tmp_path, patches):
    """A patch as a drawn GeoTIFF."""
    return write(tmp_path / "scene.tif", patches[0])


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run `terraloom predict`; returns exit code, standard output and standard error."""

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["terraloom", "predict", *map(str, args)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(cli, tmp_path):
    """Run a command that must end with exit code 2 and leave no map; returns its one message."""

    def call(*args):
        before = sorted(tmp_path.rglob("*"))
        code, out, err = cli(*args)
        assert code == 2, err
        assert out == ""
        assert err.startswith("terraloom: ")
        assert err.count("\n") == 1, err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return call


def write(path, image, **options):
    """A GeoTIFF of an image "height width band" in UTM, 10 m."""
    with rasterio.open(
        path, "w", driver="GTiff", count=image.shape[2], height=image.shape[0],
        width=image.shape[1], dtype=image.dtype, crs="EPSG:32636",
        transform=Affine(10, 0, 500_000, 0, -10, 4_300_000), **options,
    ) as file:  # fmt: skip
        file.write(np.moveaxis(image, -1, 0))
    return path


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


# The same labels as everywhere else


def test_tiles_are_as_large_as_the_crops_that_the_model_was_trained_on(trained, cli, tmp_path):
    random = np.random.default_rng(0)
    scene = write(tmp_path / "scene.tif", random.integers(1, 255, (128, 96, 3)).astype(np.uint8))
    for tile, crop in ((64, 32), (64, 64), (96, 80), (128, 128)):
        assert _window_of(crop, 32) == tile
    assert _window_of(64, 128) == 128
    code, out, err = cli(trained, scene, tmp_path / "map.tif", *DRAWN, "--json")
    assert code == 0, err
    assert json.loads(out)["tiles"] == 3 * 2  # 64 pixels wide, a step of 32


@pytest.mark.parametrize("size", [(64, 64), (48, 57), (33, 64)])
def test_the_map_of_a_patch_is_what_the_labelling_stage_sees_in_it(
    size, trained, patches, cli, tmp_path
):
    labeller = load_segmenter(trained.joinpath(*LABELLER), make_fabric(1))
    everything = LabelSettings(min_confidence=0.0)
    asked = np.full(size, UNKNOWN, dtype=np.uint8)
    seen = set()
    for index, patch in enumerate(patches[:3]):
        image = np.ascontiguousarray(patch[: size[0], : size[1]])
        scene, out = write(tmp_path / f"{index}.tif", image), tmp_path / f"{index}-map.tif"
        sure = tmp_path / f"{index}-sure.tif"
        code, _, err = cli(trained, scene, out, *DRAWN, "--confidence", sure)
        assert code == 0, err
        chances = labeller.probabilities([image])[0]
        mask, trust = final_mask(asked, chances, everything)
        assert (read(out) == mask).all()
        assert np.abs(read(sure) / 100 - trust / 255).max() < 0.01
        seen |= set(np.unique(mask))
    assert len(seen) > 1


def test_values_are_drawn_on_the_scale_of_the_project(trained, patches, cli, tmp_path):
    # The procedural world is cut from reflectance × 10⁴, of which 0 … 3000 are drawn.
    drawn = write(tmp_path / "drawn.tif", patches[1])
    values = np.rint(patches[1].astype(float) * 3000 / 255).astype(np.uint16)
    raw = write(tmp_path / "raw.tif", values)
    assert cli(trained, drawn, tmp_path / "a.tif", *DRAWN)[0] == 0
    code, _, err = cli(trained, raw, tmp_path / "b.tif")
    assert code == 0, err
    assert (read(tmp_path / "a.tif") == read(tmp_path / "b.tif")).all()


def test_a_model_away_from_its_project_needs_classes_and_scale(
    project, scene, cli, refused, tmp_path
):
    assert cli(project, scene, tmp_path / "a.tif", *DRAWN)[0] == 0
    model = tmp_path / "elsewhere"
    shutil.move(project.joinpath(*LABELLER), model)
    assert "give them with --classes: worldcover7" in refused(model, scene, tmp_path / "b.tif")
    raw = write(tmp_path / "raw.tif", np.ones((40, 40, 3), np.uint16))
    message = refused(model, raw, tmp_path / "b.tif", "--classes", "worldcover7")
    assert "in no project that tells the scale of its images" in message
    for classes in ("worldcover7", project / "build" / "classes.json", project / "terraloom.toml"):
        out = tmp_path / "b.tif"
        code, _, err = cli(model, scene, out, "--classes", classes, "--overwrite")
        if str(classes).endswith(".toml"):
            assert code == 2  # the tiny project names no classes of its own
            assert "holds no class table" in err
            continue
        assert code == 0, err
        assert (read(tmp_path / "a.tif") == read(out)).all()


def test_the_answer_as_json_and_as_a_table(trained, scene, cli, tmp_path):
    code, out, _ = cli(trained, scene, tmp_path / "map.tif", *DRAWN, "--json", "--flips")
    assert code == 0
    made = json.loads(out)
    labels = read(tmp_path / "map.tif")
    assert [row["pixels"] for row in made["classes"]] == [
        int((labels == row["value"]).sum()) for row in made["classes"]
    ]
    assert sum(row["km2"] for row in made["classes"]) == pytest.approx(made["km2"])
    assert made["km2"] == pytest.approx(64 * 64 * 1e-4, rel=2e-3)
    assert made["model_sha256"] == sha256_of(trained.joinpath(*LABELLER, "weights.safetensors"))
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.tags()["model_sha256"] == made["model_sha256"]
        assert file.tags()["architecture"] == "unet"
    code, out, err = cli(
        trained.joinpath(*LABELLER), scene, tmp_path / "codes.tif", *DRAWN, "--codes"
    )
    assert code == 0, err
    assert "km²" in out
    assert "64 × 64 pixels, 0 unknown" in out
    codes = np.array([row["value"] for row in made["classes"]])
    assert set(np.unique(read(tmp_path / "codes.tif"))) <= {10, 20, 30, 40, 50, 60, 80}
    assert len(codes) == 7


def test_a_scale_that_does_not_fit_the_scene_is_said(trained, cli, tmp_path):
    reflectance = np.random.default_rng(0).uniform(0.01, 0.4, (64, 64, 3)).astype(np.float32)
    scene = write(tmp_path / "scene.tif", reflectance)
    code, _, err = cli(trained, scene, tmp_path / "map.tif")
    assert code == 0
    assert "100 % of the scene is drawn all black or all white: check --low" in err
    code, _, err = cli(trained, scene, tmp_path / "b.tif", "--low", 0, "--high", 0.3)
    assert code == 0
    assert "all black" not in err


# Errors: one line, exit code 2, nothing left behind


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--bands", "1,2,4"), "band 4 was asked for; scene.tif has 3 bands"),
        (("--bands", "1,2"), "takes 3 bands (red, green, blue); 2 were asked for: 1,2"),
        (("--bands", "red"), "--bands 'red' is no list of numbers, as in --bands 1,2,3"),
        (("--high", -5), "--high (-5) must be above --low (0)"),
        (("--high", "inf"), "--high (inf) must be above --low (0), and both must be numbers"),
        (("--low", "nan"), "must be above --low (nan)"),
        (("--tile", 100), "must be multiples of 32, as in --tile 256 --overlap 64"),
        (("--overlap", 64), "it must be 0 … 32, half of the 64 pixels"),
        (("--batch", 0), "--batch 0 was asked for"),
        (("--classes", "worldcover11"), "tells 7 classes apart, the class table has 11"),
        (("--classes", "mine"), "class preset 'mine' is unknown; there are worldcover7"),
        (("--classes", "gone.json"), "the class table gone.json cannot be read: No such file"),
    ],
)
def test_options_that_cannot_be(options, told, trained, scene, refused, tmp_path):
    assert told in refused(trained, scene, tmp_path / "map.tif", *DRAWN, *options)


def test_scenes_that_cannot_be_read(trained, scene, patches, refused, tmp_path):
    out = tmp_path / "map.tif"
    assert "nowhere.tif is not there; correct its path" in refused(
        trained, tmp_path / "nowhere.tif", out
    )
    assert "is a folder; give the raster file in it" in refused(trained, tmp_path, out)
    text = tmp_path / "notes.txt"
    text.write_text("no raster")
    assert "notes.txt cannot be read" in refused(trained, text, out)
    empty = tmp_path / "empty.tif"
    empty.touch()
    assert "empty.tif cannot be read" in refused(trained, empty, out)
    cut = write(tmp_path / "cut.tif", np.tile(patches[0], (4, 4, 1)), compress="deflate")
    cut.write_bytes(cut.read_bytes()[:2000])
    assert "cut.tif cannot be read" in refused(trained, cut, out, *DRAWN)
    assert "the scene holds uint8 values" in refused(trained, scene, out)
    other = write(tmp_path / "other.tif", patches[0][:32])
    assert "is 64×64 pixels, other.tif 64×32" in refused(trained, f"{scene},{other}", out)
    waves = write(tmp_path / "waves.tif", np.ones((8, 8, 3), np.complex64))
    assert "complex numbers" in refused(trained, waves, out)


def test_outputs_that_cannot_be(trained, scene, refused, tmp_path):
    taken = tmp_path / "taken.tif"
    taken.write_text("mine")
    assert "exists already; give another name, or --overwrite" in refused(
        trained, scene, taken, *DRAWN
    )
    assert taken.read_text() == "mine"
    assert "is the scene itself" in refused(trained, scene, scene, *DRAWN, "--overwrite")
    assert "give a name that says so, as in" in refused(
        trained, scene, tmp_path / "map.png", *DRAWN
    )
    assert "is a folder" in refused(trained, scene, tmp_path, *DRAWN)
    assert "cannot create the folder" in refused(trained, scene, taken / "map.tif", *DRAWN)
    assert "give two names" in refused(
        trained, scene, tmp_path / "new" / "map.tif", *DRAWN,
        "--confidence", tmp_path / "new" / "map.tif",
    )  # fmt: skip


@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt", ".pkl", ".PT", ".bin"])
def test_pickles_are_refused_unread(ending, project, scene, refused, tmp_path):
    out = tmp_path / "map.tif"
    pickle = tmp_path / f"model{ending}"
    torch.save({"weights": torch.zeros(1)}, pickle)
    told = "may be a pickle, which can run any code when it is loaded"
    assert told in refused(pickle, scene, out, *DRAWN)
    # A name that is not there is no pickle, and is told as what it is.
    assert "there is no model at" in refused(tmp_path / f"gone{ending}", scene, out, *DRAWN)
    # One among the files of a model is not chosen by mistake.
    shutil.copy(pickle, project.joinpath(*LABELLER))
    assert told in refused(project, scene, out, *DRAWN)


def test_what_is_no_model(project, scene, refused, tmp_path):
    out = tmp_path / "map.tif"
    assert "there is no model at" in refused(tmp_path / "nowhere", scene, out)
    assert "is a file; give the folder that holds state.json" in refused(scene, scene, out)
    weights = project.joinpath(*LABELLER, "weights.safetensors")
    assert f"such as {weights.parent}" in refused(weights, scene, out)
    (tmp_path / "empty").mkdir()
    assert "is no model: there is no state.json" in refused(tmp_path / "empty", scene, out)
    shutil.rmtree(project / "segment")
    message = refused(project, scene, out)
    assert "is a project whose segmenter is not trained yet" in message
    assert message.rstrip().endswith("or run: terraloom segment")


def spoil_state(**changes):
    def spoil(model):
        write_json(model / "state.json", read_json(model / "state.json") | changes)

    return spoil


def cut(name, share):
    def spoil(model):
        data = (model / name).read_bytes()
        (model / name).write_bytes(data[: int(share * len(data))])

    return spoil


def no_numbers(model):
    tensors = load_file(model / "weights.safetensors")
    key = next(k for k, value in tensors.items() if value.is_floating_point())
    tensors[key].view(-1)[0] = float("nan")
    save_file(tensors, model / "weights.safetensors")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut("weights.safetensors", 0.6), "weights.safetensors is damaged or cut short"),
        (cut("weights.safetensors", 0), "weights.safetensors is damaged or cut short (0 bytes"),
        (lambda model: (model / "weights.safetensors").unlink(), "has no weights.safetensors"),
        (no_numbers, "holds weights that are no numbers"),
        (cut("state.json", 0.5), "state.json does not describe a trained segmenter"),
        (lambda model: (model / "state.json").write_text("[1]"), "does not describe a trained"),
        (lambda model: (model / "state.json").write_bytes(b"\xff\xfe\x00"), "does not describe"),
        (spoil_state(version=99), "newer version"),
        (spoil_state(mean=[0.1] * 4, std=[0.2] * 4), "takes 4 bands; prediction is for models of"),
        (spoil_state(recipe={"num_classes": 7, "architecture": "x"}), "does not describe"),
    ],
)
def test_models_that_cannot_be_used(spoil, told, project, scene, refused, tmp_path):
    spoil(project.joinpath(*LABELLER))
    assert told in refused(project, scene, tmp_path / "map.tif", *DRAWN)


def test_a_model_of_other_classes_than_its_project_says(project, scene, refused, tmp_path):
    training = tiny_training(images=4, checks=1)
    model = tmp_path / "model"
    train_segmenter(
        *toy_rows(4, 2), Recipe("unet", {}, "small", 4, training), model,
        seed=0, fabric=make_fabric(1), description="a test",
    )  # fmt: skip
    message = refused(model, scene, tmp_path / "map.tif", *DRAWN, "--classes", "worldcover7")
    assert "tells 4 classes apart, the class table has 7: tree" in message
    # Weights of another model beside the project's record.
    shutil.copy(model / "weights.safetensors", project.joinpath(*LABELLER))
    assert "another number of classes" in refused(project, scene, tmp_path / "map.tif", *DRAWN)


def test_a_project_whose_records_are_damaged(project, scene, refused, tmp_path):
    settings = project / "settings.json"
    data = settings.read_text()
    settings.write_text(data[:50])
    assert "settings.json is damaged" in refused(project, scene, tmp_path / "map.tif", *DRAWN)
    settings.write_text(data)
    (project / "build" / "classes.json").write_text('{"classes": 3}')
    assert "holds no class table" in refused(project, scene, tmp_path / "map.tif", *DRAWN)
