"""The style-based GAN: modulation, resampling, augmentation and its controller, class shares."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from terraloom.dataset.rows import Row, TrainRows, train_rows, val_rows
from terraloom.errors import SettingsError
from terraloom.generating import synthesize, train_generator
from terraloom.generators import _augmentation, stylegan
from terraloom.generators._augmentation import AdaptiveStrength, augment
from terraloom.generators._face import DataShape
from terraloom.generators._layers import class_shares
from terraloom.generators._stylegan_networks import (
    ModulatedConvolution,
    _minibatch_deviation,
    doubled,
    halved,
)
from terraloom.learning.batches import draw_batch
from terraloom.learning.checkpoint import load_checkpoint, save_checkpoint
from terraloom.learning.device import make_fabric
from terraloom.seeds import derive_seed, generator_at
from terraloom.settings import GenerateSettings
from terraloom.testing import colour_labeller, toy_classes, toy_rows, write_real

SIZE = 32
SMALL = {"width": 8, "widest": 16, "latent": 16, "batch_size": 4, "ema": 0.9}


def build(rows=None, seed=0, size=SIZE, **options):
    mean, std = ((0.4, 0.5, 0.3), (0.2, 0.15, 0.25))
    torch.manual_seed(seed)
    return stylegan.build(
        stylegan.Settings(**SMALL | options), DataShape(4, size, mean, std), make_fabric(1)
    )


def train(generator, rows, steps, start=0):
    figures = []
    for step in range(start, start + steps):
        torch.manual_seed(derive_seed(0, "torch", step))
        random = generator_at(0, "step", step)
        batch = draw_batch(rows, generator.settings.batch_size, SIZE, "geometry", random)
        figures.append(generator.step(batch, random, 0.5))
    return figures


def freeze(optimizer):
    for group in optimizer.param_groups:
        group["lr"] = 0.0


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_scaled_activations_equal_weights_per_sample(kernel, demodulate):
    torch.manual_seed(0)
    layer = ModulatedConvolution(5, 7, kernel, 4, demodulate=demodulate).double()
    x, style = noise(3, 5, 9, 9).double(), noise(3, 4, seed=1).double()
    # StyleGAN2, eqs. 1 and 3, with weights of each sample's own and grouped convolution.
    scales = layer.affine(style)
    weights = layer.weight * layer.scale * scales[:, None, :, None, None]
    if demodulate:
        weights = weights / (weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).sqrt()
    expected = F.conv2d(
        x.reshape(1, 15, 9, 9), weights.reshape(21, 5, kernel, kernel),
        padding=kernel // 2, groups=3,
    ).reshape(3, 7, 9, 9)  # fmt: skip
    found, after = layer(x, style)
    torch.testing.assert_close(found * after, expected)


def test_demodulated_outputs_have_unit_variance_whatever_the_style():
    torch.manual_seed(0)
    layer = ModulatedConvolution(64, 32, 3, 4)
    x, style = noise(8, 64, 16, 16), 10 * noise(8, 4, seed=1)
    found, after = layer(x, style)
    inner = (found * after)[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(inner.detach().std(dim=(1, 2, 3)), 1.0, atol=0.15)


def test_doubling_is_zeros_between_pixels_and_the_low_pass_1331():
    x = noise(2, 3, 8, 8)
    sparse = torch.zeros(2, 3, 16, 16)
    sparse[:, :, ::2, ::2] = x
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
    kernel = torch.outer(taps, taps).expand(3, 1, 4, 4)
    filtered = F.conv2d(F.pad(sparse, (2, 1, 2, 1)), kernel, groups=3)
    torch.testing.assert_close(doubled(x)[:, :, 2:-2, 2:-2], filtered[:, :, 2:-2, 2:-2])


def test_halving_keeps_flat_colour_and_drops_a_checkerboard():
    flat = torch.full((1, 2, 16, 16), 3.0)
    board = ((torch.arange(16)[:, None] + torch.arange(16)) % 2).float().expand(1, 2, 16, 16)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(halved(flat)[inside], torch.full((1, 2, 6, 6), 3.0))
    torch.testing.assert_close(halved(board)[inside], torch.full((1, 2, 6, 6), 0.5))


def test_the_minibatch_deviation_tells_equal_images_from_varied_ones():
    same = noise(1, 3, 4, 4).expand(8, -1, -1, -1)
    assert float(_minibatch_deviation(same).max()) < 1e-3
    varied = _minibatch_deviation(noise(8, 3, 4, 4))
    assert varied.shape == (8, 1, 4, 4)
    assert float(varied.min()) > 0.3


def test_no_strength_changes_nothing_and_full_strength_almost_everything():
    images = noise(64, 3, 16, 16)
    assert augment(images, 0.0, np.random.default_rng(0)) is images
    changed = augment(images, 0.8, np.random.default_rng(0))
    assert changed.shape == images.shape
    apart = (changed - images).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert float(apart.float().mean()) > 0.9
    rarely = augment(images, 0.02, np.random.default_rng(0))
    apart = (rarely - images).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert 0 < float(apart.float().mean()) < 0.5


def test_changes_follow_their_stream_and_pass_gradients():
    images = noise(8, 3, 16, 16).requires_grad_()
    one, two = (augment(images, 0.6, np.random.default_rng(4)) for _ in range(2))
    assert torch.equal(one, two)
    one.square().sum().backward()
    assert float(images.grad.abs().amax(dim=(1, 2, 3)).min()) > 0


@pytest.mark.parametrize(
    ("turns", "flip"), [(0, False), (1, False), (2, False), (3, False), (0, True), (1, True)]
)
def test_turns_and_mirror_images_are_exact(turns, flip, monkeypatch):
    class Scripted:
        """Coins that all fall, and the drawn values of a turn and a mirror image alone."""

        def __init__(self):
            self.integers_drawn = [int(flip), turns]

        def random(self, size):
            return np.zeros(size)

        def integers(self, high, size):
            return np.full(size, self.integers_drawn.pop(0))

        def uniform(self, low, high, size):
            return np.zeros(size)

        def standard_normal(self, size):
            return np.zeros(size)

    neutral = np.tile(np.eye(4), (2, 1, 1))
    monkeypatch.setattr(_augmentation, "_colours", lambda *_: neutral)
    images = noise(2, 3, 8, 8)
    expected = {
        torch.rot90(image, k, (2, 3)).flip(axis) if flip else torch.rot90(image, k, (2, 3))
        for image in [images]
        for axis in (2, 3)
        for k in (turns, -turns)
    }
    changed = augment(images, 0.5, Scripted())
    assert any(torch.allclose(changed, other, atol=1e-5) for other in expected)


def test_colour_changes_keep_what_they_should():
    random = np.random.default_rng(0)
    maps = _augmentation._colours(200, 1.0, random)
    # Every change can be undone: else the generator could not tell what lies behind it.
    assert np.abs(np.linalg.det(maps)).min() > 1e-3
    grey = maps[:, :3, :3] @ np.full(3, 1.0)
    # Hue and saturation leave grey grey.
    np.testing.assert_allclose(grey, np.tile(grey[:, :1], (1, 3)), atol=1e-9)


@given(
    verdicts=st.lists(st.lists(st.floats(-3, 3), min_size=4, max_size=4), min_size=1, max_size=60),
    start=st.floats(0, 0.8),
)
def test_the_strength_stays_within_bounds_and_survives_a_restart(verdicts, start):
    straight = AdaptiveStrength(start, 0.6, 100)
    torn = AdaptiveStrength(start, 0.6, 100)
    for batch in verdicts:
        straight.observe(torch.tensor(batch))
        again = AdaptiveStrength(0.0, 0.6, 100)
        again.restore_numbers(torn.numbers())
        torn = again
        torn.observe(torch.tensor(batch))
        assert 0 <= straight.value <= 0.8
    assert torn.numbers() == straight.numbers()


def test_the_strength_moves_by_images_seen_toward_the_target():
    strength = AdaptiveStrength(0.5, 0.6, 1000)
    for _ in range(8):
        strength.observe(torch.ones(10))  # every training image known
    assert strength.overfit == 1.0
    assert strength.value == pytest.approx(0.5 + 80 / 1000)
    for _ in range(8):
        strength.observe(torch.tensor([1.0, -1.0] * 5))  # none known
    assert strength.value == pytest.approx(0.5)
    held = AdaptiveStrength(0.3, 0.0, 1000)
    for _ in range(8):
        held.observe(torch.ones(10))
    assert held.value == 0.3
    assert held.overfit == 1.0


def test_a_planted_overfit_raises_the_strength_and_a_blind_discriminator_lowers_it():
    one, _ = toy_rows(1, 1, 32, 32)
    planted = build(augment_images=500, batch_size=8, penalty=0, rate=5e-3)
    freeze(planted.generator_optimizer)
    figures = train(planted, one, 40)
    assert np.mean([f["overfit"] for f in figures[20:]]) > 0.6
    assert figures[-1]["augmentation"] > 0.3
    blind = build(augment_images=500, batch_size=8, augment_start=0.5)
    freeze(blind.discriminator_optimizer)
    with torch.no_grad():
        blind.discriminator.verdict.weight.zero_()
    assert train(blind, one, 20)[-1]["augmentation"] < 0.3


@pytest.mark.parametrize(
    "options", [{"shares": True, "augment_start": 0.4}, {"objective": "relativistic"}]
)
def test_every_variant_resumes_exactly(options, tmp_path):
    rows, _ = toy_rows(4, 1)
    options = {"penalty_every": 2, **options}
    straight = build(**options)
    train(straight, rows, 6)
    first = build(**options)
    train(first, rows, 3)
    save_checkpoint(tmp_path, first.modules(), first.optimizers(), first.numbers(), 12)
    second = build(seed=7, **options)
    _, numbers = load_checkpoint(tmp_path, second.modules(), second.optimizers())
    second.restore_numbers(numbers)
    train(second, rows, 3, start=3)
    assert straight.numbers() == second.numbers()
    for key, module in straight.modules().items():
        other = second.modules()[key].state_dict()
        for entry, value in module.state_dict().items():
            assert torch.equal(value, other[entry]), f"{key}/{entry}"
    free = torch.full((2, SIZE, SIZE), 255)
    assert torch.equal(straight.sample(free, [1, 2]), second.sample(free, [1, 2]))


@pytest.mark.parametrize("pictures", [1, 2])
def test_the_penalty_is_half_gamma_times_the_squared_slope(pictures):
    class Slope(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = torch.nn.Parameter(noise(3, SIZE, SIZE))

        def forward(self, images, shares):
            return (images * self.slope).sum(dim=(1, 2, 3)), None

    generator = build(penalty=0.5, penalty_every=4)
    generator._discriminator = Slope()
    generator._penalise([noise(6, 3, SIZE, SIZE, seed=k) for k in range(pictures)], None)
    slope = generator._discriminator.slope
    assert generator.penalty == pytest.approx(pictures * float(slope.square().sum()), rel=1e-4)
    # Seldom applied, it weighs as many times more: d/da of 4 · γ/2 · |a|² is 4 · γ · a.
    torch.testing.assert_close(slope.grad, pictures * 4 * 0.5 * slope.detach())


def one_class_rows():
    """Rows of water alone and of crop alone, so that shares decide the colour."""
    rows = []
    for index in range(8):
        label = index % 2
        colour = ((30, 60, 200), (210, 190, 60))[label]
        grain = np.random.default_rng(index).normal(0, 10, (SIZE, SIZE, 3))
        image = np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)
        mask = np.full((SIZE, SIZE), label, np.uint8)
        rows.append(Row(f"r{index}", f"p{index}", image, mask, None))
    return TrainRows(tuple(rows))


def test_asked_shares_decide_the_image_after_a_short_training():
    generator = build(shares=True, batch_size=8, rate=5e-3, augment_target=0, penalty=0.1)
    train(generator, one_class_rows(), 80)
    asked = torch.zeros(12, 4)
    asked[:6, 0] = 1
    asked[6:, 1] = 1
    images = generator.sample_shares(asked, list(range(12)))
    blueness = (images[:, 2] - images[:, 0]).mean(dim=(1, 2))
    assert float(blueness[:6].min()) > float(blueness[6:].max()) + 0.1
    # A mask asks for its shares, wherever they lie; a free one for those of some training crop.
    masks = torch.zeros(12, SIZE, SIZE).long()
    masks[6:] = 1
    assert torch.equal(generator.sample(masks, list(range(12))), images)
    free = generator.sample(torch.full((12, SIZE, SIZE), 255), list(range(12)))
    distance = (free[:, None] - images.reshape(2, 6, 3, SIZE, SIZE).mean(dim=1)).abs()
    assert set(distance.mean(dim=(2, 3, 4)).argmin(dim=1).tolist()) == {0, 1}


def test_without_shares_a_mask_changes_nothing():
    generator = build()
    masks = torch.zeros(2, SIZE, SIZE).long()
    free = torch.full((2, SIZE, SIZE), 255)
    assert torch.equal(generator.sample(masks, [1, 2]), generator.sample(free, [1, 2]))


def test_truncation_to_nothing_leaves_the_mean_style_and_the_grain():
    rows, _ = toy_rows(4, 1)
    generator = build()
    train(generator, rows, 4)
    free = torch.full((6, SIZE, SIZE), 255)
    full = generator.sample(free, list(range(6))).std(dim=0).mean()
    generator.settings = stylegan.Settings(**SMALL, truncation=0.0)
    none = generator.sample(free, list(range(6))).std(dim=0).mean()
    assert float(none) < float(full)
    with torch.no_grad():
        for name, value in generator.average.named_parameters():
            if name.endswith("strength"):
                value.zero_()
    still = generator.sample(free, list(range(6)))
    torch.testing.assert_close(still[0], still[5])


@pytest.mark.parametrize("size", [16, 48, 100, 512])
def test_a_size_that_is_no_power_of_two_in_reach_is_refused_by_name(size):
    with pytest.raises(SettingsError, match=f"32, 64, 128, 256 pixels, not of {size}"):
        build(size=size)


@pytest.mark.parametrize("size", [64, 256])
def test_larger_sizes_are_made(size):
    generator = build(size=size)
    assert generator.sample(torch.full((1, size, size), 255), [3]).shape == (1, 3, size, size)


def test_shares_that_are_none_are_refused():
    generator = build(shares=True)
    for bad in ([[0.5, 0.6, 0.2, 0.1]], [[-0.2, 1.2, 0, 0]], [[0.5, 0.5, 0.0]]):
        with pytest.raises(SettingsError, match="sum to 1"):
            generator.sample_shares(torch.tensor(bad), [1])
    with pytest.raises(SettingsError, match="shares = true"):
        build().sample_shares(torch.tensor([[0.25] * 4]), [1])


def test_class_shares_are_counted_over_known_pixels():
    labels = torch.full((2, 4, 4), 255)
    labels[0, 0] = 1
    labels[0, 1, :2] = 3
    shares = class_shares(labels, 4)
    torch.testing.assert_close(shares[0], torch.tensor([0, 2 / 3, 0, 1 / 3]))
    assert shares[1].tolist() == [0, 0, 0, 0]


def test_it_trains_and_samples_by_the_common_way(tmp_path):
    real, fabric = write_real(tmp_path / "real"), make_fabric(1)
    options = {**SMALL, "images": 16, "checks": 2}
    trained = train_generator(
        "stylegan", options, train_rows(real), val_rows(real), tmp_path / "model",
        classes=toy_classes(), size=SIZE, labeller=colour_labeller(fabric), seed=3, fabric=fabric,
    )  # fmt: skip
    made = synthesize(
        {"stylegan": trained}, train_rows(real), tmp_path / "samples",
        classes=toy_classes(), settings=GenerateSettings(size=SIZE, shard_rows=4), seed=5,
    ).read().to_pylist()  # fmt: skip
    assert len(made) == 8
    assert {row["origin"] for row in made} == {"unconditional"}
    assert len({row["image"]["bytes"] for row in made}) == 8
