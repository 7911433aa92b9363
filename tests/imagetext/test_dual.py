"""The in-domain encoder: learns what belongs together, resumes, and is fitted on train rows."""

import numpy as np
import pytest
import torch

from terraloom.errors import NothingLeft
from terraloom.files import sha256_of
from terraloom.imagetext.dual import (
    DualPlan,
    contrastive_loss,
    fit_dual,
    quarter_features,
    word_buckets,
)
from terraloom.imagetext.retrieval import retrieve
from terraloom.learning.device import make_fabric
from terraloom.testing import colour_labeller, toy_classes, toy_rows

CLASSES = toy_classes()
PLAN = DualPlan(4096, 64, 2e-3, 0.05, 4, 0)


def captions_of(*parts):
    """Which class is largest, and where it mostly lies: told by the mask."""
    found = {}
    for rows in parts:
        for i in range(len(rows)):
            row = rows[i]
            shares = CLASSES.shares(row.mask)
            largest = int(shares.argmax())
            name = CLASSES.names[largest]
            second = CLASSES.names[int(np.argsort(shares)[-2])]
            half = row.mask.shape[1] // 2
            west = (row.mask[:, :half] == largest).mean() > (row.mask[:, half:] == largest).mean()
            side = "west" if west else "east"
            found[row.id] = [f"mostly {name} in the {side}", f"{name}, {side}, some {second}"]
    return found


@pytest.fixture(scope="module")
def data():
    fabric = make_fabric(1)
    train, val = toy_rows(160, 40, 32, 32)
    return train, val, captions_of(train, val), colour_labeller(fabric), fabric


def test_matching_pairs_are_found_and_shuffled_ones_are_not(data, tmp_path):
    train, val, captions, labeller, fabric = data
    fitted = fit_dual(train, val, captions, labeller, PLAN, tmp_path, fabric)
    images = fitted.images([val[i].image for i in range(len(val))])
    texts = [text for i in range(len(val)) for text in captions[val[i].id]]
    owner = np.repeat(np.arange(len(val)), 2)
    found = retrieve(images, fitted.texts(texts), owner, seed=0).text_of_image
    assert found.found[2] > 2 * found.chance[2]
    assert found.found[2] > found.shuffled[2] + 0.2
    assert fitted.summary["fitted_on"]["train_images"] == 160
    assert fitted.summary["fitted_on"]["train_captions"] == 320
    again = fit_dual(train, val, captions, labeller, PLAN, tmp_path, fabric)
    assert again.texts(texts) == pytest.approx(fitted.texts(texts), abs=0)


def test_a_killed_training_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    from terraloom.imagetext import dual

    train, val, captions, labeller, fabric = data
    plan = DualPlan(512, 32, 2e-3, 0.05, 4, 3)
    fit_dual(train, val, captions, labeller, plan, tmp_path / "whole", fabric)

    class Killed(Exception):
        pass

    real_check = dual._DualTrainee.check

    def fatal(self, images):
        if images > 256:
            raise Killed
        return real_check(self, images)

    monkeypatch.setattr(dual._DualTrainee, "check", fatal)
    with pytest.raises(Killed):
        fit_dual(train, val, captions, labeller, plan, tmp_path / "killed", fabric)
    assert not (tmp_path / "killed" / "state.json").exists()
    monkeypatch.setattr(dual._DualTrainee, "check", real_check)
    fit_dual(train, val, captions, labeller, plan, tmp_path / "killed", fabric)
    for name in ("weights.safetensors", "state.json"):
        assert sha256_of(tmp_path / "killed" / name) == sha256_of(tmp_path / "whole" / name)
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == [
        "log.jsonl", "state.json", "weights.safetensors",
    ]  # fmt: skip


def test_other_captions_or_seeds_are_trained_anew(data, tmp_path):
    train, val, captions, labeller, fabric = data
    plan = DualPlan(64, 32, 2e-3, 0.05, 1, 0)
    first = fit_dual(train, val, captions, labeller, plan, tmp_path, fabric)
    other = {key: [text.replace("mostly", "mainly") for text in own]
             for key, own in captions.items()}  # fmt: skip
    second = fit_dual(train, val, other, labeller, plan, tmp_path, fabric)
    assert first.summary["fitted_on"] != second.summary["fitted_on"]
    assert second.summary["fitted_on"]["train_sha256"] != first.summary["fitted_on"]["train_sha256"]


def test_rows_without_captions_are_left_out_and_none_is_refused(data, tmp_path):
    train, val, captions, labeller, fabric = data
    few = {key: own for key, own in captions.items() if not key.endswith("0")}
    plan = DualPlan(32, 8, 2e-3, 0.05, 1, 0)
    fitted = fit_dual(train, val, few, labeller, plan, tmp_path, fabric)
    assert fitted.summary["fitted_on"]["train_images"] == 144
    with pytest.raises(NothingLeft, match="Caption the real samples first"):
        fit_dual(train, val, {}, labeller, plan, tmp_path / "none", fabric)


def test_equal_captions_are_no_negatives():
    same = torch.nn.functional.normalize(torch.ones(2, 4), dim=1)
    scale = torch.tensor(2.0)
    off = torch.tensor([[False, True], [True, False]])
    assert float(contrastive_loss(same, same, scale, off)) == pytest.approx(0, abs=1e-6)
    none = torch.zeros(2, 2, dtype=torch.bool)
    assert float(contrastive_loss(same, same, scale, none)) == pytest.approx(np.log(2), abs=1e-5)


def test_the_loss_is_cross_entropy_in_both_directions():
    rng = np.random.default_rng(0)
    a, b = (torch.nn.functional.normalize(torch.tensor(rng.normal(size=(6, 5))), dim=1)
            for _ in range(2))  # fmt: skip
    logits = (a @ b.T * np.exp(1.5)).numpy()

    def entropy(x):
        return np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(x)])

    loss = contrastive_loss(a, b, torch.tensor(1.5), torch.zeros(6, 6, dtype=torch.bool))
    assert float(loss) == pytest.approx((entropy(logits) + entropy(logits.T)) / 2)


def test_features_keep_order_and_tell_quarters_apart(data):
    labeller = data[3]
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (size, 32, 3)).astype(np.uint8) for size in (32, 40, 32, 33)]
    found = quarter_features(labeller, images)
    for number, image in enumerate(images):
        assert quarter_features(labeller, [image])[0] == pytest.approx(found[number], abs=1e-5)
    assert quarter_features(labeller, [images[0][::-1]])[0] != pytest.approx(found[0], abs=1e-3)


def test_word_pairs_tell_order():
    assert set(word_buckets("water north of trees")) != set(word_buckets("trees north of water"))
    assert len(word_buckets("")) == 0
    assert word_buckets("Trees.").tolist() == word_buckets("trees").tolist()
    assert word_buckets("a b c").min() >= 1
