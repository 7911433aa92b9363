"""Several processes on one training: the same weights, one writer, one error."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from safetensors.torch import load_file

from terraloom import segmenting
from terraloom.dataset.cache import RowCache
from terraloom.dataset.rows import TrainRows, ValRows, train_rows, val_rows
from terraloom.errors import DivergedTraining, SettingsError
from terraloom.files import read_json, read_lines, sha256_of
from terraloom.learning import device
from terraloom.learning.device import fabric_of, make_fabric
from terraloom.segmenting import Recipe, train_segmenter
from terraloom.settings import settings_from
from terraloom.testing import tiny_training, toy_rows, write_real


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(1)


@pytest.fixture(scope="module")
def rows():
    return toy_rows(8, 4)


def train(rows, folder, fabric, devices, **training):
    # Group norm and cross-entropy do not look beyond one image, so they are exact in parts. The
    # corners without data differ between images: a mean of the processes' means would be wrong.
    # The encoder has no gates: AdamW blows the rounding of their vanishing gradients up.
    budget = {
        "loss": "ce",
        "class_weights": "balanced",
        "learning_rate": 2e-4,
        "ema": 0.0,
        "images": 24,
        "checks": 3,
    }
    options = {"norm": "group", "encoder": "tu-mobilenetv2_050"}
    recipe = Recipe("unet", options, "small", 4, tiny_training(**budget | training))
    return train_segmenter(
        *rows, recipe, folder, seed=3, fabric=fabric, description="a test", devices=devices
    )


def apart(one, two):
    first, second = (load_file(folder / "weights.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    return max(float((first[key] - second[key]).abs().max()) for key in first)


@pytest.fixture(scope="module")
def alone(rows, tmp_path_factory, fabric):
    folder = tmp_path_factory.mktemp("alone")
    train(rows, folder, fabric, 1)
    return folder


@pytest.fixture(scope="module")
def together(rows, tmp_path_factory, fabric):
    folder = tmp_path_factory.mktemp("together")
    train(rows, folder, fabric, 2)
    return folder


def test_two_processes_end_with_the_weights_of_one(alone, together):
    assert apart(alone, together) < 1e-5


def test_the_first_process_alone_writes(alone, together):
    names = {"log.jsonl", "state.json", "tensorboard", "weights.safetensors"}
    assert {path.name for path in together.iterdir()} == names
    assert len(list((together / "tensorboard").iterdir())) == 1
    figures = [
        [row for row in read_lines(f / "log.jsonl") if "val_f1" in row] for f in (alone, together)
    ]
    assert [row["images"] for row in figures[1]] == [8, 16, 24]
    assert [row["val_f1"] for row in figures[1]] == pytest.approx(
        [row["val_f1"] for row in figures[0]], abs=1e-3
    )
    assert read_json(together / "state.json")["devices"] == 2


def test_what_one_process_began_two_finish(rows, tmp_path, fabric, alone, monkeypatch):
    step = segmenting._SegmenterTrainee.step

    def fatal(self, random, progress):
        if self.updates == 3:
            raise KeyboardInterrupt
        return step(self, random, progress)

    monkeypatch.setattr(segmenting._SegmenterTrainee, "step", fatal)
    with pytest.raises(KeyboardInterrupt):
        train(rows, tmp_path, fabric, 1)
    assert read_json(tmp_path / "latest.json") == {"folder": "images-000000008"}
    train(rows, tmp_path, fabric, 2)
    assert apart(alone, tmp_path) < 1e-5


@pytest.mark.slow
def test_an_error_of_the_processes_is_told_as_if_there_were_one(rows, tmp_path, fabric):
    with pytest.raises(DivergedTraining, match=r"became (nan|inf) at image .*learning_rate"):
        train(rows, tmp_path, fabric, 2, learning_rate=1e30, warm_up=0.0, images=40, checks=1)
    assert not (tmp_path / "state.json").exists()
    assert "MASTER_PORT" not in os.environ


@pytest.mark.parametrize(("batch_size", "devices"), [(4, 3), (4, 4)])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size, devices, rows, tmp_path, fabric):
    with pytest.raises(SettingsError, match=r"batch_size = 4 cannot be shared .* multiple of"):
        train(rows, tmp_path, fabric, devices, batch_size=batch_size)
    with pytest.raises(SettingsError, match="cannot be shared by project"):
        settings_from({"project": {"devices": 24}})


def test_curves_cannot_be_sent_from_several_processes():
    with pytest.raises(SettingsError, match=r"project\.wandb sends the curves of one process"):
        settings_from({"project": {"devices": 2, "wandb": "mine"}})


def test_more_gpus_than_there_are_is_told(monkeypatch):
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match=r"project\.devices = 4, but this machine has 1 GPU"):
        fabric_of(4)


def test_mapped_rows_travel_by_name_not_by_content(tmp_path):
    import pickle

    table = write_real(tmp_path / "build" / "samples")
    cache = RowCache(tmp_path / "cache", "mapped")
    for rows, kind in ((train_rows(table, cache=cache), TrainRows), (val_rows(table), ValRows)):
        packed = pickle.dumps(rows)
        again = pickle.loads(packed)
        assert type(again) is kind
        assert [row.id for row in again.rows] == [row.id for row in rows.rows]
        assert (again[1].image == rows[1].image).all()
        if kind is TrainRows:
            assert len(packed) < 1000


@pytest.mark.slow
def test_two_processes_killed_and_started_again_end_with_the_same_bytes(
    rows, tmp_path, fabric, together
):
    # The process is killed with its helpers as soon as there is a checkpoint.
    code = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(os.path.dirname(__file__))!r})
        from pathlib import Path
        from test_together import make_fabric, toy_rows, train
        if __name__ == "__main__":
            train(toy_rows(8, 4), Path(sys.argv[1]), make_fabric(1), 2)
        """
    )
    script, folder = tmp_path / "script.py", tmp_path / "torn"
    script.write_text(code)
    running = subprocess.Popen([sys.executable, str(script), str(folder)], start_new_session=True)
    while not (folder / "latest.json").exists():
        assert running.poll() is None
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (folder / "state.json").exists()
    train(rows, folder, fabric, 2)
    for name in ("weights.safetensors", "state.json"):
        assert sha256_of(folder / name) == sha256_of(together / name)
