"""A model that cannot be used says in one line which file, what was found, and what to do."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from terraloom.errors import BadCheckpoint, DamagedTable, InputError, NewerFormat
from terraloom.files import read_json, write_json
from terraloom.learning.device import make_fabric
from terraloom.segmenting import Recipe, load_segmenter, train_segmenter
from terraloom.testing import tiny_training, toy_rows

WEIGHTS, STATE = "weights.safetensors", "state.json"


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory, fabric):
    """Finished trainings by what they are."""
    made = {}
    for name, architecture, classes in (
        ("good", "unet", 4),
        ("other", "fpn", 4),
        ("more", "unet", 6),
    ):
        folder = made[name] = tmp_path_factory.mktemp(name)
        recipe = Recipe(architecture, {}, "small", classes, tiny_training(images=4, checks=1))
        train_segmenter(
            *toy_rows(4, 2), recipe, folder, seed=0, fabric=fabric, description="a test"
        )
    return made


@pytest.fixture
def model(models, tmp_path):
    return shutil.copytree(models["good"], tmp_path / "model")


def told(folder, fabric):
    """The message, which is one line and stands for exit code 2."""
    with pytest.raises(BadCheckpoint) as caught:
        load_segmenter(folder, fabric)
    message = str(caught.value)
    assert caught.value.exit_code == InputError.exit_code == 2
    assert isinstance(caught.value, InputError)
    assert isinstance(caught.value, DamagedTable)
    assert "\n" not in message
    assert len(message) < 600
    assert "Copy the whole folder of the training again, or delete it" in message
    return message


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short(share, model, fabric):
    path = model / WEIGHTS
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    message = told(model, fabric)
    assert message.startswith(f"{path} is damaged or cut short ({int(share * len(data)):,} bytes;")


def test_a_file_that_is_not_there(model, fabric):
    (model / WEIGHTS).unlink()
    assert told(model, fabric).startswith(f"{model / WEIGHTS} is missing.")


def test_weights_of_another_architecture(models, model, fabric):
    shutil.copy(models["other"] / WEIGHTS, model / WEIGHTS)
    message = told(model, fabric)
    assert message.startswith(f"{model / WEIGHTS} does not fit segmenter: ")
    assert "missing, such as network.decoder." in message
    assert "left over, such as network.decoder." in message


def test_weights_of_other_classes(models, model, fabric):
    shutil.copy(models["more"] / WEIGHTS, model / WEIGHTS)
    message = told(model, fabric)
    assert "size mismatch in 2 tensors (network.segmentation_head.0.bias is (6,) in the file" in (
        message
    )
    assert "(4,) in the network: another number of classes" in message


def test_a_tensor_of_another_shape(model, fabric):
    tensors = load_file(model / WEIGHTS)
    key = next(k for k in tensors if k.endswith("conv1.0.weight"))
    save_file(tensors | {key: tensors[key][:, :-1].contiguous()}, model / WEIGHTS)
    message = told(model, fabric)
    assert f"size mismatch in 1 tensor ({key.removeprefix('segmenter/')} is " in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value, model, fabric):
    tensors = load_file(model / WEIGHTS)
    key = next(k for k in tensors if k.endswith("conv1.0.weight"))
    tensors[key].view(-1)[:3] = value
    save_file(tensors, model / WEIGHTS)
    message = told(model, fabric)
    assert "holds weights that are no numbers: 3 of " in message
    assert key.removeprefix("segmenter/") in message


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("recipe"),
        lambda state: state.pop("mean"),
        lambda state: state["recipe"].pop("num_classes"),
        lambda state: state["recipe"]["training"].update(loss="guess"),
        lambda state: state.update(std=[0.1, 0.2]),
        lambda state: state.update(version="one"),
    ],
)
def test_a_record_that_describes_no_segmenter(damage, model, fabric):
    state = read_json(model / STATE)
    damage(state)
    write_json(model / STATE, state)
    assert told(model, fabric).startswith(
        f"{model / STATE} does not describe a trained segmenter ("
    )


def test_a_record_cut_short(model, fabric):
    path = model / STATE
    path.write_text(path.read_text()[:100])
    assert told(model, fabric).startswith(f"{path} does not describe a trained segmenter (JSON")


def test_a_record_of_a_newer_version(model, fabric):
    write_json(model / STATE, read_json(model / STATE) | {"version": 99})
    with pytest.raises(NewerFormat, match=r"state\.json was written by a newer version\. Upgrade"):
        load_segmenter(model, fabric)


def test_a_torn_checkpoint_of_a_training_is_told_when_it_goes_on(tmp_path, fabric):
    recipe = Recipe("unet", {}, "small", 4, tiny_training(images=8, checks=2))
    folder = tmp_path / "images-000000004"
    folder.mkdir()
    save_file({"network/x": torch.zeros(1)}, folder / WEIGHTS)
    write_json(tmp_path / "latest.json", {"folder": folder.name})
    with pytest.raises(BadCheckpoint, match=r"images-000000004.* does not fit network: .*missing"):
        train_segmenter(*toy_rows(4, 2), recipe, tmp_path, seed=0, fabric=fabric, description="x")
