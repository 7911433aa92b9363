"""Checkpoints come back whole, optimisers included; a damaged one tells."""

import json

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from terraloom.errors import DamagedTable
from terraloom.learning.checkpoint import (
    discard_checkpoints,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)

OPTIMIZERS = {
    "adamw": lambda p: AdamW(p, lr=0.03, weight_decay=0.1),
    "adam": lambda p: Adam(p, lr=0.02, betas=(0.0, 0.99)),
    "sgd": lambda p: SGD(p, lr=0.01, momentum=0.9),
}


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def train(net, optimizer, steps, start=0):
    for step in range(start, start + steps):
        torch.manual_seed(step)
        loss = net(torch.randn(2, 3, 6, 7)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.values(), two.values(), strict=True))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_through_a_checkpoint_equals_training_straight_on(kind, tmp_path):
    straight = network()
    train(straight, OPTIMIZERS[kind](straight.parameters()), 6)

    first = network()
    optimizer = OPTIMIZERS[kind](first.parameters())
    train(first, optimizer, 3)
    save_checkpoint(tmp_path, {"net": first}, {"opt": optimizer}, {"best": 0.5}, 48)
    second = network(seed=99)
    restored = OPTIMIZERS[kind](second.parameters())
    assert load_checkpoint(tmp_path, {"net": second}, {"opt": restored}) == (48, {"best": 0.5})
    train(second, restored, 3, start=3)
    assert same(second.state_dict(), straight.state_dict())


def test_without_a_checkpoint_there_is_nothing_to_restore(tmp_path):
    assert load_checkpoint(tmp_path, {"net": network()}, {}) is None


def test_only_the_newest_checkpoint_is_kept_and_no_temporary_file(tmp_path):
    net = network()
    for images in (16, 32, 48):
        save_checkpoint(tmp_path, {"net": net}, {}, {}, images)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images-000000048", "latest.json"]
    discard_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_checkpoint_is_not_taken_for_the_latest(tmp_path):
    save_checkpoint(tmp_path, {"net": network()}, {}, {"n": 1}, 16)
    (tmp_path / ".images-000000032.part").mkdir()
    (tmp_path / ".images-000000032.part" / "weights.safetensors").write_bytes(b"torn")
    assert load_checkpoint(tmp_path, {"net": network(5)}, {}) == (16, {"n": 1})


def test_what_a_kill_tore_is_discarded_with_the_rest(tmp_path):
    save_checkpoint(tmp_path, {"net": network()}, {}, {}, 16)
    (tmp_path / ".images-000000032.part").mkdir()
    (tmp_path / ".weights.safetensors.77.part").write_bytes(b"torn")
    (tmp_path / "weights.safetensors").write_bytes(b"kept")
    discard_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_weights_of_another_shape_are_named(tmp_path):
    save_weights(tmp_path / "w.safetensors", {"net": nn.Linear(3, 2)})
    with pytest.raises(DamagedTable, match=r"w\.safetensors does not fit net:(.|\n)*size mismatch"):
        load_weights(tmp_path / "w.safetensors", {"net": nn.Linear(4, 2)})


def test_a_missing_tensor_is_named(tmp_path):
    save_weights(tmp_path / "w.safetensors", {"net": nn.Linear(3, 2, bias=False)})
    with pytest.raises(DamagedTable, match="bias"):
        load_weights(tmp_path / "w.safetensors", {"net": nn.Linear(3, 2)})


@pytest.mark.parametrize("damage", ["truncated", "not safetensors", "empty"])
def test_a_damaged_file_tells_which_it_is(damage, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"net": nn.Linear(3, 2)})
    data = path.read_bytes()
    path.write_bytes(
        {"truncated": data[: len(data) // 2], "not safetensors": b"\x80" * 64, "empty": b""}[damage]
    )
    with pytest.raises(DamagedTable, match=r"w\.safetensors"):
        load_weights(path, {"net": nn.Linear(3, 2)})


def test_numbers_are_plain_json(tmp_path):
    save_checkpoint(tmp_path, {"net": network()}, {}, {"history": [{"f1": 0.25}]}, 8)
    state = json.loads((tmp_path / "images-000000008" / "state.json").read_text())
    assert state["numbers"] == {"history": [{"f1": 0.25}]}
    assert not list(tmp_path.rglob("*.pt")) + list(tmp_path.rglob("*.pkl"))
