"""Made masks: shares to the pixel, sparse wishes, seeds, round trips, what is learned from."""

import numpy as np
import pytest
import torch

from terraloom.dataset.rows import Row, TrainRows, train_rows, val_rows
from terraloom.errors import SettingsError
from terraloom.generating import load_generator, train_generator
from terraloom.generators import layout
from terraloom.generators._face import DataShape, LayoutGenerator
from terraloom.layouts import layout_masks
from terraloom.learning.batches import Batch, draw_batch
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.device import make_fabric
from terraloom.seeds import generator_at
from terraloom.testing import colour_labeller, toy_classes, toy_rows, write_real

SIZE = 32
CLASSES = toy_classes()
FREE = np.full(4, np.nan)
SMALL = {"widths": (8, 16), "steps": 6, "batch_size": 8, "ema": 0.9}


def build(seed=0, size=SIZE, **options):
    torch.manual_seed(seed)
    shape = DataShape(4, size, (0.4,) * 3, (0.2,) * 3)
    return layout.build(layout.Settings(**SMALL | options), shape, make_fabric(1))


def train(maker, rows, steps):
    figures = []
    for step in range(steps):
        random = generator_at(0, "step", step)
        batch = draw_batch(rows, maker.settings.batch_size, SIZE, "geometry", random)
        figures.append(maker.step(batch, random, step / steps))
    return figures


@pytest.fixture(scope="module")
def maker():
    made = build(rate=5e-3)
    train(made, toy_rows(8, 1)[0], 60)
    return made


def shares(mask):
    return np.bincount(mask.ravel(), minlength=4) / mask.size


def test_asked_shares_are_met_to_the_pixel(maker):
    asked = np.random.default_rng(0).dirichlet(np.ones(4), size=6)
    masks = maker.masks(list(asked), range(6))
    for mask, target in zip(masks, asked, strict=True):
        assert mask.shape == (SIZE, SIZE)
        assert mask.dtype == np.uint8
        assert np.abs(shares(mask) - target).max() < 1 / SIZE**2


@pytest.mark.parametrize("wish", [{"crop": 0.3}, {"water": 0.25, "tree": 0.0}, {"tree": 1.0}, {}])
def test_sparse_wishes_are_met_and_the_rest_is_filled(maker, wish):
    for mask in layout_masks(maker, [wish] * 4, [5, 6, 7, 8], CLASSES):
        for name, share in wish.items():
            found = shares(mask)[CLASSES.names.index(name)]
            assert found == pytest.approx(share, abs=1 / SIZE**2)
        assert mask.max() < 4


def test_what_was_asked_for_but_cannot_be_is_refused(maker):
    for wish, message in (
        ({"lava": 0.3}, "no class"), ({"tree": -1}, "between 0 and 1"),
        ({"tree": 0.8, "crop": 0.8}, "sum to 1.6"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=message):
            layout_masks(maker, [wish], [1], CLASSES)


def test_a_class_that_training_never_showed_is_refused_by_name():
    maker = build()
    train(maker, one_class_rows(), 2)
    with pytest.raises(SettingsError, match=r"0.3 of built-up was asked for.*water, crop\."):
        layout_masks(maker, [{"built-up": 0.3}], [1], CLASSES)


def test_masks_follow_their_seed_and_no_batch_mate(maker):
    torch.manual_seed(3)
    targets = [FREE, np.array([0.25] * 4), np.array([np.nan, 0.4, np.nan, np.nan])]
    together = maker.masks(targets, [1, 2, 3])
    torch.manual_seed(4)
    for one, two in zip(together, maker.masks(targets, [1, 2, 3]), strict=True):
        np.testing.assert_array_equal(one, two)
    for index, target in enumerate(targets):
        alone = maker.masks([target], [index + 1])[0]
        assert (alone != together[index]).mean() < 0.01
    other = maker.masks(targets, [4, 5, 6])
    assert all((a != b).mean() > 0.05 for a, b in zip(together, other, strict=True))


def test_saved_weights_make_the_same_masks(maker, tmp_path):
    save_weights(tmp_path / "w.safetensors", maker.sampling_modules())
    again = build(seed=5)
    load_weights(tmp_path / "w.safetensors", again.sampling_modules())
    for one, two in zip(maker.masks([FREE] * 3, range(3)), again.masks([FREE] * 3, range(3)),
                        strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, two)


def one_class_rows():
    """Masks of water alone and of crop alone."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    return TrainRows(
        tuple(
            Row(f"r{i}", f"p{i}", image, np.full((SIZE, SIZE), i % 2, np.uint8), None)
            for i in range(6)
        )
    )


def test_a_fresh_network_gives_every_class_the_chance_of_its_share():
    net = build().network
    wish = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    with torch.no_grad():
        net.leave.bias.zero_()
        found = net(torch.randn(1, 4, SIZE, SIZE), torch.tensor([9.0]), wish).softmax(dim=1)
    torch.testing.assert_close(found, wish.reshape(1, 4, 1, 1).expand_as(found))


def test_the_network_itself_follows_the_shares():
    maker = build()
    train(maker, one_class_rows(), 5)
    asked = [np.array([1.0, 0, 0, 0]), np.array([0, 1.0, 0, 0])]
    water, crop = maker.masks(asked, [1, 1], exact=False)
    assert shares(water)[0] > 0.9
    assert shares(crop)[1] > 0.9


def test_on_the_way_the_expected_mask_has_the_asked_shares(maker):
    asked = torch.tensor([[0.7, 0.2, 0.1, 0.0], [0.05, 0.05, 0.3, 0.6]])
    x = 3 * torch.randn(2, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, free = (
            maker._logits(x, 1.5, asked, balanced).softmax(dim=1).mean(dim=(2, 3))
            for balanced in (True, False)
        )
    assert float((found - asked).abs().max()) < 0.02
    assert float((found - asked).abs().max()) < float((free - asked).abs().max())


def test_training_learns_what_neighbours_tell():
    rows = toy_rows(8, 1)[0]
    losses = [figures["loss"] for figures in train(build(rate=3e-3), rows, 60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_patches_are_patches_after_training_and_not_single_pixels(maker):
    def borders(mask):
        return ((mask[1:] != mask[:-1]).mean() + (mask[:, 1:] != mask[:, :-1]).mean()) / 2

    even = np.array([0.25] * 4)
    made = np.mean([borders(mask) for mask in maker.masks([even] * 4, range(4))])
    noise = borders(np.random.default_rng(0).integers(4, size=(SIZE, SIZE)))
    assert made < 0.6 * noise


def test_unknown_pixels_are_neither_learned_nor_remembered():
    labels = torch.zeros(2, SIZE, SIZE).long()
    labels[0, 4:] = 255  # mostly unknown: left out
    labels[1, :8] = 255
    labels[1, 8:16] = 2
    images = torch.zeros(2, 3, SIZE, SIZE)
    maker = build()
    maker.step(Batch(images, labels, torch.ones(2, SIZE, SIZE)), np.random.default_rng(0), 0.0)
    np.testing.assert_allclose(maker.memory.known(), [[2 / 3, 0, 1 / 3, 0]], atol=1e-6)
    nothing = torch.full((2, SIZE, SIZE), 255)
    loss = maker.step(Batch(images, nothing, torch.ones(2, SIZE, SIZE)),
                      np.random.default_rng(0), 0.0)["loss"]  # fmt: skip
    assert loss == 0
    assert len(maker.memory.known()) == 1


def test_unknown_pixels_take_their_nearest_neighbour_as_context():
    labels = torch.zeros(1, 4, 6).long()
    labels[0, :, 4:] = 1
    labels[0, :, 1:3] = 255
    filled = layout._filled(labels)
    assert filled[0, 0].tolist() == [0, 0, 0, 0, 1, 1]


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(SettingsError, match="multiple of 4"):
        build(size=30)


def test_it_trains_by_the_common_way_and_loads_again(tmp_path):
    real, fabric = write_real(tmp_path / "real"), make_fabric(1)
    options = {"images": 16, "batch_size": 4, "widths": (8, 16), "steps": 2, "checks": 1}
    train_generator(
        "layout", options, train_rows(real), val_rows(real), tmp_path / "model",
        classes=CLASSES, size=32, labeller=colour_labeller(fabric), seed=3, fabric=fabric,
    )  # fmt: skip
    loaded = load_generator(tmp_path / "model", fabric)
    assert loaded.generator.makes == frozenset()
    assert isinstance(loaded.generator, LayoutGenerator)
    mask = layout_masks(loaded.generator, [{"tree": 0.5}], [1], CLASSES)[0]
    assert shares(mask)[2] == 0.5
