"""Running figures: planted collapse, deaf seeds and copies trip their alarms; real do not."""

import numpy as np
import pytest
from torch.nn import functional

from terraloom.dataset.rows import TrainRows, ValRows, random_crop
from terraloom.learning.device import make_fabric
from terraloom.monitoring import GeneratorMonitor
from terraloom.segmenting import TrainedSegmenter
from terraloom.testing import ColourNetwork, toy_classes, toy_rows

SIZE = 32


@pytest.fixture(scope="module")
def rows():
    joined, _ = toy_rows(60, 1, 48, 48)
    every = [joined[i] for i in range(60)]
    return TrainRows(every[:30]), ValRows(every[30:45]), TrainRows(every[45:])


class CellsNetwork(ColourNetwork):
    """Features that tell where things lie: means of 4 × 4 cells."""

    def features(self, images):
        return functional.adaptive_avg_pool2d(images, 4).flatten(1)


@pytest.fixture(scope="module")
def monitor(rows):
    train, val, _ = rows
    classes = toy_classes()
    labeller = TrainedSegmenter(CellsNetwork(classes).eval(), make_fabric(1), len(classes), {})
    return GeneratorMonitor(train, val, classes, SIZE, labeller, seed=2)


def painted(mask, seed, noise=25):
    """The class colours of a mask under noise of its own: what a good generator would make."""
    random = np.random.default_rng(seed)
    image = toy_classes().colour_image(mask).astype(float) + random.normal(
        0, noise, (*mask.shape, 3)
    )
    return np.clip(image, 0, 255).astype(np.uint8)


def good(masks, seeds):
    return [painted(mask, seed) for mask, seed in zip(masks, seeds, strict=True)]


def held_back(rows):
    random = np.random.default_rng(5)
    return [random_crop(rows[2], random, SIZE)[0] for _ in range(64)]


def test_real_images_that_were_held_back_raise_no_alarm(monitor, rows):
    figures = monitor.figures(lambda masks, seeds: held_back(rows), conditional=False)
    assert figures.alarms == ()
    assert figures.agreement is None
    assert figures.diversity is None
    assert figures.variety > 0.7 * figures.variety_real
    noise = np.random.default_rng(1).integers(0, 256, (64, SIZE, SIZE, 3), dtype=np.uint8)
    worse = monitor.figures(lambda masks, seeds: list(noise), conditional=False)
    assert figures.kernel < 0.5 * worse.kernel


def test_a_good_generator_agrees_as_far_as_real_images_do(monitor):
    figures = monitor.figures(good, conditional=True)
    assert figures.agreement > 0.9
    assert figures.miou > 0.8
    assert figures.diversity > 0.02
    assert not [alarm for alarm in figures.alarms if "collapse" in alarm or "seed" in alarm]


def test_one_image_for_every_seed_is_a_collapse(monitor, rows):
    one = held_back(rows)[0]
    figures = monitor.figures(lambda masks, seeds: [one] * len(seeds), conditional=False)
    assert figures.variety == pytest.approx(1, abs=0.01)
    assert any("mode collapse" in alarm for alarm in figures.alarms)


def test_two_images_in_turn_are_a_collapse(monitor, rows):
    two = held_back(rows)[:2]
    figures = monitor.figures(
        lambda masks, seeds: [two[seed % 2] for seed in seeds], conditional=False
    )
    assert any("mode collapse" in alarm for alarm in figures.alarms)


def test_a_generator_that_is_deaf_to_its_seed_is_told(monitor):
    figures = monitor.figures(
        lambda masks, seeds: [painted(mask, 0) for mask in masks], conditional=True
    )
    assert figures.diversity == 0
    assert any("seed hardly matters" in alarm for alarm in figures.alarms)


def test_samples_of_one_tone_are_told(monitor, rows):
    def one_tone(masks, seeds):
        images = [image.astype(float) for image in held_back(rows)]
        mean = np.mean(images, axis=(0, 1, 2))
        return [
            (image - image.mean(axis=(0, 1)) + mean).clip(0, 255).astype(np.uint8)
            for image in images
        ]

    figures = monitor.figures(one_tone, conditional=False)
    assert figures.tones < 0.5 * figures.tones_real
    assert any(alarm.startswith("one tone") for alarm in figures.alarms)
    real = monitor.figures(lambda masks, seeds: held_back(rows), conditional=False)
    assert real.tones == pytest.approx(real.tones_real, rel=0.3)


def test_copies_of_train_crops_are_told(monitor, rows):
    # The very crops that it knows: the same draw as the monitor's own comes from its seed.
    from terraloom.seeds import generator_at

    random = generator_at(2, "monitor")
    for _ in range(64):
        random_crop(rows[1], random, SIZE)
    known = [random_crop(rows[0], random, SIZE)[0] for _ in range(64)]
    figures = monitor.figures(lambda masks, seeds: known[: len(seeds)], conditional=False)
    assert figures.copies == 1
    assert figures.nearest == pytest.approx(0, abs=1e-3)
    assert any(alarm.startswith("copies") for alarm in figures.alarms)


def test_noise_is_told_to_be_unlike_land(monitor):
    def noise(masks, seeds):
        return [
            np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            for seed in seeds
        ]

    figures = monitor.figures(noise, conditional=False)
    assert figures.kernel > 1
    assert any(alarm.startswith("unlike land") for alarm in figures.alarms)


def test_pairs_are_judged_by_the_masks_that_came_along(monitor):
    masks = monitor.masks
    right = monitor.figures_of_pairs(lambda seeds: (good(masks, seeds), masks))
    wrong = monitor.figures_of_pairs(lambda seeds: (good(masks, seeds), masks[::-1]))
    assert right.agreement > 0.9 > wrong.agreement + 0.2


def test_figures_for_the_log_are_plain_and_without_what_is_undefined(monitor, rows):
    log = monitor.figures(lambda masks, seeds: held_back(rows), conditional=False).log()
    assert "agreement" not in log
    assert {"kernel", "kernel_floor", "variety", "copies", "alarms"} <= log.keys()


class MeansNetwork(ColourNetwork):
    """Features that do not tell where pixels lie."""

    def features(self, images):
        return images.mean((2, 3))


def test_shuffled_pixels_are_no_unit_for_a_labeller_blind_to_places(monitor, rows):
    train, val, _ = rows
    classes = toy_classes()
    blind = TrainedSegmenter(MeansNetwork(classes).eval(), make_fabric(1), len(classes), {})
    judge = GeneratorMonitor(train, val, classes, SIZE, blind, seed=2)
    assert judge.kernel_unit == 1.0
    assert 0.01 < monitor.kernel_unit < 1.0
    figures = monitor.figures(lambda masks, seeds: held_back(rows), conditional=False)
    assert figures.log()["kernel_unit"] == pytest.approx(monitor.kernel_unit, abs=1e-5)
