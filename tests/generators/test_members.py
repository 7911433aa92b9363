"""Every generator: shape, range, seeds, batch mates, round trip, exact resume."""

import importlib.util

import numpy as np
import pytest
import torch

from terraloom import families
from terraloom.generators._face import DataShape, FeatureMatcher
from terraloom.learning.batches import draw_batch
from terraloom.learning.checkpoint import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from terraloom.learning.device import make_fabric
from terraloom.seeds import derive_seed, generator_at
from terraloom.testing import ColourNetwork, toy_classes, toy_rows

MEMBERS = families.members("generators")
# Those that make images; makers of masks have tests of their own beside what holds for all.
PAINTERS = tuple(
    name
    for name in MEMBERS
    if not getattr(families.member("generators", name), "MAKES_LAYOUTS", False)
)
SMALL = {
    "flow": {"widths": (8, 16), "steps": 2},
    "spade": {"width": 8},
    "layout": {"widths": (8, 16), "steps": 2},
    "stylegan": {"width": 8, "widest": 16, "latent": 16, "augment_start": 0.3},
    "controlnet": {"steps": 2, "rate": 0.01},
}
# Options that change what a member makes or takes: "member option" stands for a member.
VARIANTS = {
    "flow shares": {"shares": True},
    "flow joint": {"joint": True},
    "flow joint+shares": {"joint": True, "shares": True},
    "stylegan shares": {"shares": True},
    "stylegan relativistic": {"objective": "relativistic"},
    "controlnet dpm++": {"sampler": "dpm++"},
    "spade class": {"style": "class"},
    "spade match": {"match_weight": 1.0},
}
# What members of optional extras import.
NEEDS = {"controlnet": "diffusers"}
EVERY = (*MEMBERS, *VARIANTS)
SHAPE = DataShape(4, 32, (0.4, 0.5, 0.3), (0.2, 0.15, 0.25))
SIZE = 32


@pytest.fixture(scope="module")
def rows():
    return toy_rows(6, 1)[0]


@pytest.fixture(scope="module")
def build(tiny_diffusion_model):
    """Makes a small member of that name; skips where its extra is not installed."""

    def make(name, seed=0):
        member = name.split()[0]
        if member in NEEDS and importlib.util.find_spec(NEEDS[member]) is None:
            pytest.skip(f"{member} needs {NEEDS[member]}, which is not installed")
        module = families.member("generators", member)
        options = SMALL.get(member, {}) | VARIANTS.get(name, {})
        if member == "controlnet":
            options = options | {"model": str(tiny_diffusion_model)}
        settings = module.Settings(images=64, batch_size=4, ema=0.9, **options)
        torch.manual_seed(seed)
        generator = module.build(settings, SHAPE, make_fabric(1))
        if isinstance(generator, FeatureMatcher):
            generator.match_by(ColourNetwork(toy_classes()).stages)
        return generator

    return make


def train(generator, rows, steps, start=0):
    """As the loop does it: every step draws from its own address."""
    figures = {}
    for step in range(start, start + steps):
        torch.manual_seed(derive_seed(0, "torch", step))
        random = generator_at(0, "step", step)
        batch = draw_batch(rows, 4, SIZE, "geometry", random)
        figures = generator.step(batch, random, step / 16)
    return figures


@pytest.fixture(scope="module", params=(*PAINTERS, *VARIANTS))
def trained(request, rows, build):
    """A generator after a few steps: untrained ones may still ignore their input."""
    generator = build(request.param)
    train(generator, rows, 6)
    return request.param, generator


def masks(rows, count=3):
    return torch.stack([torch.from_numpy(rows[i].mask[:SIZE, :SIZE]) for i in range(count)]).long()


def test_samples_have_the_promised_shape_and_range(trained, rows):
    _, generator = trained
    pixels = generator.sample(masks(rows), [1, 2, 3])
    assert pixels.shape == (3, 3, SIZE, SIZE)
    assert pixels.dtype == torch.float32
    assert 0 <= float(pixels.min()) < float(pixels.max()) <= 1


def test_the_same_mask_and_seed_give_the_same_image(trained, rows):
    _, generator = trained
    first = generator.sample(masks(rows), [1, 2, 3])
    torch.manual_seed(99)  # the global state plays no part
    assert torch.equal(first, generator.sample(masks(rows), [1, 2, 3]))


def test_an_image_does_not_depend_on_its_batch_mates(trained, rows):
    _, generator = trained
    labels = masks(rows)
    together = generator.sample(labels, [1, 2, 3])
    torch.testing.assert_close(
        together[1:2], generator.sample(labels[1:2], [2]), rtol=1e-3, atol=1e-3
    )
    turned = generator.sample(labels.flip(0), [3, 2, 1])
    torch.testing.assert_close(together, turned.flip(0), rtol=1e-3, atol=1e-3)


def test_another_seed_gives_another_image(trained, rows):
    _, generator = trained
    labels = masks(rows, 1).expand(3, -1, -1)
    images = generator.sample(labels, [1, 2, 3])
    assert float((images[0] - images[1]).abs().mean()) > 1e-3
    assert float((images[0] - images[2]).abs().mean()) > 1e-3


def test_the_mask_decides_the_image_where_masks_are_taken(trained, rows):
    _, generator = trained
    if "conditional" not in generator.makes:
        pytest.skip("takes no mask")
    labels = masks(rows, 2)
    images = generator.sample(labels, [1, 1])
    assert float((images[0] - images[1]).abs().mean()) > 1e-4


def test_unconditional_samples_are_made_where_declared(trained):
    _, generator = trained
    assert generator.makes <= {"conditional", "unconditional", "joint"}
    assert generator.makes
    if "unconditional" in generator.makes:
        free = torch.full((2, SIZE, SIZE), 255)
        images = generator.sample(free, [1, 2])
        assert images.shape == (2, 3, SIZE, SIZE)
        assert not torch.equal(images[0], images[1])


def test_a_free_sample_ignores_masked_batch_mates(trained, rows):
    _, generator = trained
    if "unconditional" not in generator.makes:
        pytest.skip("makes no unconditional samples")
    free = torch.full((1, SIZE, SIZE), 255)
    mixed = generator.sample(torch.cat([masks(rows, 1), free]), [1, 2])
    torch.testing.assert_close(mixed[1:], generator.sample(free, [2]), rtol=1e-3, atol=1e-3)


def test_saved_weights_make_the_same_images(trained, rows, build, tmp_path):
    name, generator = trained
    save_weights(tmp_path / "w.safetensors", generator.sampling_modules())
    again = build(name, seed=5)
    load_weights(tmp_path / "w.safetensors", again.sampling_modules())
    assert torch.equal(
        generator.sample(masks(rows), [1, 2, 3]), again.sample(masks(rows), [1, 2, 3])
    )


def test_pairs_are_made_where_declared(trained):
    _, generator = trained
    if "joint" not in generator.makes:
        pytest.skip("makes no pairs")
    images, labels = generator.sample_pairs([1, 2])
    assert images.shape == (2, 3, SIZE, SIZE)
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert labels.shape == (2, SIZE, SIZE)
    assert set(labels.unique().tolist()) <= set(range(SHAPE.num_classes))
    alone, own = generator.sample_pairs([2])
    torch.testing.assert_close(alone, images[1:], rtol=1e-3, atol=1e-3)
    assert float((own == labels[1:]).float().mean()) > 0.99
    assert not torch.equal(images[0], images[1])


def test_shares_may_be_asked_for_where_declared(trained):
    _, generator = trained
    if not getattr(generator, "takes_shares", False):
        pytest.skip("takes no shares")
    shares = torch.eye(SHAPE.num_classes)[:2]
    images = generator.sample_shares(shares, [1, 1])
    assert images.shape == (2, 3, SIZE, SIZE)
    assert not torch.equal(images[0], images[1])
    assert torch.equal(images, generator.sample_shares(shares, [1, 1]))


@pytest.mark.parametrize("name", EVERY)
def test_steps_through_a_checkpoint_equal_steps_straight_on(name, rows, build, tmp_path):
    straight = build(name)
    train(straight, rows, 4)
    first = build(name)
    train(first, rows, 2)
    save_checkpoint(tmp_path, first.modules(), first.optimizers(), first.numbers(), 8)
    second = build(name, seed=9)
    _, numbers = load_checkpoint(tmp_path, second.modules(), second.optimizers())
    second.restore_numbers(numbers)
    train(second, rows, 2, start=2)
    for key, module in straight.modules().items():
        other = second.modules()[key].state_dict()
        for entry, value in module.state_dict().items():
            assert torch.equal(value, other[entry]), f"{key}/{entry}"
    assert straight.optimizers().keys() == second.optimizers().keys()
    for key, optimizer in straight.optimizers().items():
        states = optimizer.state_dict()["state"], second.optimizers()[key].state_dict()["state"]
        assert states[0].keys() == states[1].keys()
        for index, entries in states[0].items():
            for entry, value in entries.items():
                np.testing.assert_array_equal(value, states[1][index][entry])
    assert straight.numbers() == second.numbers()


@pytest.mark.parametrize("name", EVERY)
def test_a_step_changes_every_network_and_tells_finite_figures(name, rows, build):
    generator = build(name)
    before = {
        k: [v.clone() for v in m.state_dict().values()] for k, m in generator.modules().items()
    }
    figures = train(generator, rows, 2)
    assert figures
    assert all(np.isfinite(value) for value in figures.values())
    for key, module in generator.modules().items():
        moved = [
            not torch.equal(a, b)
            for a, b in zip(before[key], module.state_dict().values(), strict=True)
        ]
        assert sum(moved) > len(moved) / 2, key


@pytest.mark.parametrize("name", EVERY)
def test_every_optimiser_and_sampling_network_is_among_what_is_saved(name, build):
    generator = build(name)
    owned = {id(p) for m in generator.modules().values() for p in m.parameters()}
    for optimizer in generator.optimizers().values():
        assert all(id(p) in owned for group in optimizer.param_groups for p in group["params"])
    assert all(
        id(p) in owned for m in generator.sampling_modules().values() for p in m.parameters()
    )


@pytest.mark.parametrize("name", PAINTERS)
def test_unknown_pixels_of_a_mask_are_no_error(name, rows, build):
    generator = build(name)
    labels = masks(rows, 2)
    labels[0, :20] = 255
    assert torch.isfinite(generator.sample(labels, [1, 2])).all()


@pytest.mark.parametrize("name", MEMBERS)
def test_it_tells_its_speed_for_estimates(name, build):
    module = families.member("generators", name)
    assert module.TRAINING_RATE > 0
    assert module.SAMPLING_RATE > 0
    makes = build(name).makes
    assert getattr(module, "SAMPLES_FREELY", False) == ("unconditional" in makes)
    assert getattr(module, "SAMPLES_MASKS", True) == ("conditional" in makes)
