"""CLIP weights of a user's, by tiny models that the test makes."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from terraloom.errors import WeightsUnavailable
from terraloom.imagetext.clip import load_clip
from terraloom.learning._torchvision_repair import repair_torchvision

repair_torchvision()  # before open_clip looks for torchvision
pytest.importorskip("transformers")
pytest.importorskip("open_clip")

_spec = importlib.util.spec_from_file_location(
    "tiny_clip", Path(__file__).with_name("tiny_clip.py")
)
tiny_clip = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_clip)


@pytest.fixture(scope="module", params=["transformers", "open_clip"])
def weights(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / request.param
    return getattr(tiny_clip, f"write_{request.param}")(folder)


def test_images_and_texts_become_unit_vectors_whatever_their_batch(weights):
    clip = load_clip(str(weights))
    assert weights.name in clip.name
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40 + i % 3, 50, 3)).astype(np.uint8) for i in range(5)]
    seen = clip.images(images)
    assert np.linalg.norm(seen, axis=1) == pytest.approx(1, abs=1e-5)
    assert clip.images(images[3:4])[0] == pytest.approx(seen[3], abs=1e-4)
    read = clip.texts(["a tree", "water, grass and a tree", "a tree"]).vectors
    assert read.shape == (3, seen.shape[1])
    assert read[0] == pytest.approx(read[2], abs=1e-5)
    assert clip.texts(["a tree"]).vectors[0] == pytest.approx(read[0], abs=1e-4)
    assert abs(read[0] - read[1]).max() > 1e-3


def test_texts_beyond_the_context_are_cut_before_their_end_and_counted(weights):
    clip = load_clip(str(weights))
    assert clip.context == 77
    # One token a letter or word in both: 75 fit between start and end.
    fits, over = " ".join("a" * 75), " ".join("a" * 76)
    longer = over + " b c d"
    found = clip.texts([fits, over, longer])
    assert found.cut == (False, True, True)
    # What was cut plays no part, and the end mark stays: all three read the same.
    assert found.vectors[1] == pytest.approx(found.vectors[0], abs=1e-5)
    assert found.vectors[2] == pytest.approx(found.vectors[0], abs=1e-5)


def test_the_library_is_told_by_the_folder_or_by_name(weights):
    library = weights.name
    assert load_clip(str(weights), library).name == load_clip(str(weights)).name


def test_pickled_weights_are_not_loaded(weights, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(weights, folder)
    for path in folder.glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(WeightsUnavailable, match=r"holds no \*\.safetensors. Pickled weights"):
        load_clip(str(folder))


def test_weights_that_are_not_there_are_told(monkeypatch, tmp_path):
    with pytest.raises(WeightsUnavailable, match="there is no folder"):
        load_clip(str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable, match="could be downloaded"):
        load_clip("terraloom-tests/no-such-model")
    with pytest.raises(WeightsUnavailable, match="name no training"):
        load_clip("ViT-B-32", "open_clip")
