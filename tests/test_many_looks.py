"""Several labellers, mirror images and label noise in a whole project: files, resume, bytes."""

import shutil

import numpy as np
import pytest

from terraloom.files import read_json
from terraloom.pipeline import Pipeline
from terraloom.settings import load_settings
from terraloom.tables import Table
from terraloom.testing import tiny_project
from terraloom.trained import read_class_table

MANY = """\
[label]
flips = true

[segment]
members = 2
noise_folds = 2

[segment.training]
"""


def run(folder):
    Pipeline(load_settings(folder), folder).run(until="label")


def content(folder):
    """Bytes by name, but for what may differ: logs, event files, and records of the start."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for stage in ("segment", "label")
        for path in sorted((folder / stage).rglob("*"))
        if path.is_file() and path.name != "log.jsonl" and "tensorboard" not in path.parts
    }


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    text = tiny_project().replace("[segment.training]\n", MANY)
    (folder / "terraloom.toml").write_text(text)
    run(folder)
    return folder


def test_every_member_is_another_one_with_a_temperature_of_its_own(many):
    one, other = (
        (many / "segment" / name / "weights.safetensors").read_bytes()
        for name in ("labeller", "labeller-2")
    )
    assert one != other
    for name in ("labeller", "labeller-2"):
        assert read_json(many / "segment" / name / "calibration.json")["temperature"] > 0
    outputs = read_json(many / "segment" / "stage.json")["outputs"]
    assert set(outputs) == {
        "labeller", "labeller/calibration", "labeller-2", "labeller-2/calibration",
    }  # fmt: skip


def test_all_looks_have_one_temperature_and_leave_their_figures(many, finished_project):
    found = read_json(many / "label" / "calibration.json")
    val = Table.open(many / "build" / "samples").read(["split"])["split"].to_pylist().count("val")
    assert found["rows"] == val
    rows = Table.open(many / "label" / "labels").read().to_pylist()
    unanimity = np.array([row["unanimity"] for row in rows])
    assert (unanimity > 0).all()
    assert (unanimity <= 1).all()
    assert unanimity.mean() < 1
    # The likeliest of so many classes cannot be less likely than this.
    least = 1 / len(read_class_table(many / "build" / "classes.json"))
    assert all(least <= row["confidence"] <= 1 for row in rows)
    # A single look is calibrated in its own folder, and nothing is added.
    assert not (finished_project / "label" / "calibration.json").exists()
    alone = Table.open(finished_project / "label" / "labels").read(["unanimity"])
    assert set(alone["unanimity"].to_pylist()) == {1.0}


def test_label_noise_is_counted_on_every_train_place(many):
    noise = read_json(many / "segment" / "noise" / "label-noise.json")
    real = Table.open(many / "build" / "samples").read(["split", "place"]).to_pylist()
    assert noise["places"] == len({row["place"] for row in real if row["split"] == "train"})
    assert noise["folds"] == 2
    assert noise["pixels"] == int(np.sum(noise["confusion"]))


def test_stages_cut_off_half_way_end_with_the_same_bytes(many, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(many, folder)
    for gone in (
        "segment/stage.json", "segment/labeller-2/calibration.json", "segment/noise/fold-1",
        "segment/noise/label-noise.json", "segment/floors.json", "label/stage.json",
        "label/samples/manifest.json", "label/samples/part-00001.parquet", "label/labels",
    ):  # fmt: skip
        path = folder / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(folder)
    assert content(folder) == content(many)


def test_a_second_look_makes_the_labels_anew_and_not_the_labeller(many, tmp_path):
    folder = tmp_path / "flipless"
    shutil.copytree(many, folder)
    path = folder / "terraloom.toml"
    path.write_text(path.read_text().replace("flips = true", "flips = false"))
    before, log = content(folder), (folder / "log.jsonl").read_text().splitlines()
    run(folder)
    assert [name for name, data in content(folder).items() if before.get(name) != data] == [
        "label/calibration.json",
        *(f"label/{table}/{name}" for table in ("labels", "samples")
          for name in sorted(p.name for p in (folder / "label" / table).iterdir())),
        "label/stage.json", "label/started.json", "label/yardstick.json",
    ]  # fmt: skip
    assert len((folder / "log.jsonl").read_text().splitlines()) == len(log) + 1
