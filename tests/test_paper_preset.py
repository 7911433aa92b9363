"""The published settings: one word sets them, given keys win, the scale stays with the model."""

import runpy
import tomllib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from terraloom.errors import WeightsUnavailable
from terraloom.files import read_json
from terraloom.learning.device import make_fabric
from terraloom.pipeline import Pipeline
from terraloom.segmenting import Recipe, load_segmenter, train_segmenter
from terraloom.settings import TrainingSettings, settings_from
from terraloom.testing import tiny_training, toy_pair, toy_rows

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGE = {"cut": {"patch_size": 256}, "generate": {"size": 256}}


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(1)


def train(folder, fabric, options=None, **training):
    # A small encoder of the family that the preset names, for a test of seconds.
    options = {"encoder": "efficientnet-b0", "weights": "none"} | (options or {})
    recipe = Recipe("unet", options, "paper", 4, tiny_training(images=4, checks=1, **training))
    return train_segmenter(*toy_rows(4, 2), recipe, folder, seed=0, fabric=fabric, description="x")


@pytest.mark.parametrize("section", ["segment", "benchmark"])
def test_the_preset_sets_the_published_recipe(section):
    training = getattr(settings_from(LARGE | {section: {"preset": "paper"}}), section).training
    assert training == TrainingSettings(
        epochs=20, batch_size=24, crop_size=256, learning_rate=1e-3, weight_decay=0.01,
        clip_norm=1.0, loss="dice", class_weights="none", warm_up=0.0, schedule="plateau",
        normalise="imagenet", augment="paper", checks=20, patience=5, ema=0.0,
    )  # fmt: skip


def test_keys_that_are_given_win_over_the_preset():
    given = {"preset": "paper", "training": {"normalise": "data", "images": 480}}
    training = settings_from(LARGE | {"segment": given}).segment.training
    assert (training.normalise, training.images, training.epochs) == ("data", 480, None)
    assert (training.loss, training.batch_size) == ("dice", 24)


def test_imagenet_normalisation_is_kept_with_the_model_and_used_by_all(tmp_path, fabric):
    trained = train(tmp_path, fabric, normalise="imagenet")
    state = read_json(tmp_path / "state.json")
    assert (tuple(state["mean"]), tuple(state["std"])) == (MEAN, STD)
    weights = load_file(tmp_path / "weights.safetensors")
    assert weights["segmenter/mean"].flatten().tolist() == pytest.approx(MEAN)
    image = toy_pair(7, 64, 64)[0]
    # Whoever loads it (labelling, prediction, evaluation) gets pixels standardised as in training.
    again = load_segmenter(tmp_path, fabric)
    assert again.network.std.flatten().tolist() == pytest.approx(STD)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    shifted = (pixels - torch.tensor(MEAN).reshape(1, 3, 1, 1)) / torch.tensor(STD).reshape(
        1, 3, 1, 1
    )
    with torch.inference_mode():
        expected = again.network.network(shifted).softmax(dim=1).numpy()
    for model in (trained, again):
        np.testing.assert_allclose(model.probabilities([image]), expected, atol=1e-5)


def test_without_it_the_training_rows_decide(tmp_path, fabric):
    train(tmp_path, fabric)
    mean = read_json(tmp_path / "state.json")["mean"]
    pixels = np.stack([row.image for row in toy_rows(4, 2)[0].rows]) / 255
    assert mean == pytest.approx(pixels.mean(axis=(0, 1, 2)).tolist(), abs=1e-6)


def test_weights_that_cannot_be_had_end_the_training_with_the_ways_out(
    tmp_path, fabric, monkeypatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with pytest.raises(WeightsUnavailable) as caught:
        train(tmp_path / "training", fabric, {"weights": "imagenet"})
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert len(message.splitlines()) == 1
    for way_out in ('weights = "/path/to/encoder.safetensors"', 'weights = "none"', '"small"'):
        assert way_out in message
    with pytest.raises(WeightsUnavailable, match=r'do not exist\. Ways out: .*weights = "none"'):
        train(tmp_path / "training", fabric, {"weights": str(tmp_path / "gone.safetensors")})
    assert not (tmp_path / "training" / "state.json").exists()


def test_the_published_example_runs_on_a_stand_in_of_the_layout(tmp_path, repository, monkeypatch):
    stand_in = runpy.run_path(str(repository / "benchmarks" / "aras_stand_in.py"))
    stand_in["write_stand_in"](tmp_path / "aras", 12)
    monkeypatch.setenv("TERRALOOM_ARAS400K", str(tmp_path / "aras"))
    raw = tomllib.loads((repository / "examples" / "aras400k.toml").read_text())
    assert settings_from(raw).benchmark.training == settings_from(raw).segment.training
    assert len(settings_from(raw).benchmark.architectures) == 6
    # One update of a small encoder without weights, which the example's own comment asks for.
    raw["segmenters"] = {"unet": {"encoder": "efficientnet-b0", "weights": "none"}}
    raw["segment"]["training"] = {"images": 2, "batch_size": 2, "checks": 1}
    Pipeline(settings_from(raw), tmp_path / "run").run(until="segment")
    state = read_json(tmp_path / "run" / "segment" / "labeller" / "state.json")
    assert tuple(state["mean"]) == MEAN
    assert state["recipe"]["preset"] == "paper"
    assert state["recipe"]["training"]["loss"] == "dice"
    assert state["rows"] == {"train": 9, "val": 2}
