"""A seventh architecture is one file: put into the family, it is listed, set and trained."""

import importlib
import sys

import pytest
from typer.testing import CliRunner

from terraloom import families, segmenters
from terraloom.errors import SettingsError
from terraloom.files import read_json
from terraloom.learning.device import make_fabric
from terraloom.segmenting import Recipe, evaluate, load_segmenter, train_segmenter
from terraloom.settings import load_settings
from terraloom.testing import tiny_training, toy_rows

MODULE = '''\
"""Two convolutions: the least that can be called a segmenter."""

from torch import nn

from terraloom.segmenters._face import EncoderSettings, Segmenter

TRAINING_RATE = 1000.0
"""Crops of 64 pixels per second, for estimates of time."""


class Settings(EncoderSettings):
    """Options of `[segmenters.seventh]`."""

    width: int = 8
    """Channels in between."""


def build(settings, preset, num_classes, mean, std):
    """The network."""
    layers = nn.Sequential(
        nn.Conv2d(3, settings.width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(settings.width, num_classes, 1),
    )
    return Segmenter(layers, mean, std, 32)
'''


@pytest.fixture
def seventh(tmp_path, monkeypatch):
    """The one file, in a folder that the family's is continued by."""
    (tmp_path / "family").mkdir()
    (tmp_path / "family" / "seventh.py").write_text(MODULE)
    monkeypatch.setattr(segmenters, "__path__", [*segmenters.__path__, str(tmp_path / "family")])
    importlib.invalidate_caches()
    yield "seventh"
    sys.modules.pop("terraloom.segmenters.seventh", None)
    vars(segmenters).pop("seventh", None)


def test_it_is_listed_with_its_description(seventh):
    from terraloom.cli import app

    assert seventh in families.members("segmenters")
    listed = CliRunner().invoke(app, ["members", "--json"]).stdout
    assert '"seventh"' in listed
    assert "Two convolutions" in listed


def test_its_options_are_settings_and_its_name_an_architecture(seventh, tmp_path):
    (tmp_path / "terraloom.toml").write_text(
        '[segment]\narchitecture = "seventh"\n[segmenters.seventh]\nwidth = 4\n'
        '[benchmark]\narchitectures = ["unet", "seventh"]\n'
    )
    settings = load_settings(tmp_path)
    assert settings.options("segmenters", "seventh") == {"width": 4}
    (tmp_path / "terraloom.toml").write_text("[segmenters.seventh]\nwdth = 4\n")
    with pytest.raises(SettingsError, match=r"segmenters\.seventh\.wdth.*did you mean 'width'"):
        load_settings(tmp_path)


def test_it_trains_a_step_is_loaded_and_evaluated(seventh, tmp_path):
    fabric = make_fabric(1)
    recipe = Recipe(seventh, {"width": 4}, "small", 4, tiny_training(images=4, checks=1))
    trained = train_segmenter(
        *toy_rows(4, 2), recipe, tmp_path, seed=0, fabric=fabric, description="x"
    )
    assert trained.summary["images"] == 4
    assert read_json(tmp_path / "state.json")["recipe"]["architecture"] == "seventh"
    rows = list(toy_rows(1, 2)[1].rows)
    matrices = evaluate(load_segmenter(tmp_path, fabric), [rows])
    assert sum(m.sum() for m in matrices.values()) == sum((r.mask != 255).sum() for r in rows)


def test_without_the_file_there_are_six():
    assert "seventh" not in families.members("segmenters")
