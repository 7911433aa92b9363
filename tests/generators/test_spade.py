"""`spade`: a style per class, and the perceptual loss through whatever encoder is at hand."""

import itertools

import pytest
import torch

from terraloom.dataset.rows import TrainRows
from terraloom.errors import SettingsError, WeightsUnavailable
from terraloom.generating import train_generator
from terraloom.generators import spade
from terraloom.generators._face import DataShape
from terraloom.generators._layers import label_planes
from terraloom.generators._perceptual import perceptual_distance, timm_maps
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.learning.batches import draw_batch
from terraloom.learning.device import make_fabric
from terraloom.seeds import generator_at
from terraloom.testing import ColourNetwork, colour_labeller, toy_classes, toy_rows

repair_torchvision()  # before timm looks for torchvision
timm = pytest.importorskip("timm")

SIZE = 32
CLASSES = len(toy_classes())
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rows():
    return toy_rows(8, 2)


def build(**options):
    torch.manual_seed(0)
    options = {"width": 8, "ema": 0.9, "noise_size": 4} | options
    shape = DataShape(CLASSES, SIZE, (0.4,) * 3, (0.2,) * 3)
    return spade.build(spade.Settings(**options), shape, make_fabric(1))


def train(generator, rows: TrainRows, steps):
    figures = []
    for step in range(steps):
        random = generator_at(0, "step", step)
        batch = draw_batch(rows, 8, SIZE, "geometry", random)
        figures.append(generator.step(batch, random, step / steps))
    return figures


def halves():
    """Class 0 in the upper half, class 1 in the lower, no other class."""
    labels = torch.zeros(1, SIZE, SIZE).long()
    labels[:, SIZE // 2 :] = 1
    return label_planes(labels, CLASSES)


@torch.no_grad()
def painted(generator, planes, style):
    return generator.average(planes, (style, torch.zeros(1, 1, SIZE, SIZE)))


def test_a_class_style_changes_its_own_pixels_most_and_absent_classes_nothing():
    generator = build(style="class")
    style = torch.randn(1, CLASSES + 1, 4, generator=torch.Generator().manual_seed(1))
    plain = painted(generator, halves(), style)
    changes = {}
    for label in range(CLASSES + 1):
        other = style.clone()
        other[:, label] *= -1
        changes[label] = (painted(generator, halves(), other) - plain).abs().mean(dim=1)[0]
    # Not zero elsewhere: normalisation looks at the whole image.
    top, bottom = slice(0, 8), slice(-8, None)
    assert float(changes[0][top].mean()) > 1.2 * float(changes[0][bottom].mean())
    assert float(changes[1][bottom].mean()) > 1.2 * float(changes[1][top].mean())
    assert all(float(changes[label].max()) == 0 for label in range(2, CLASSES + 1))


def test_one_style_for_all_classes_is_the_style_of_the_image():
    by_class, by_image = build(style="class"), build(style="image")
    by_class.average.load_state_dict(by_image.average.state_dict())
    style = torch.randn(1, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        painted(by_class, halves(), style[:, None].expand(-1, CLASSES + 1, -1)),
        painted(by_image, halves(), style),
    )


def test_the_distance_is_none_of_scale_and_blames_the_found_alone():
    draw = torch.Generator().manual_seed(0)
    found = [torch.randn(2, c, 8, 8, generator=draw, requires_grad=True) for c in (3, 5)]
    wanted = [torch.randn(2, c, 8, 8, generator=draw, requires_grad=True) for c in (3, 5)]
    assert float(perceptual_distance(found, found)) == pytest.approx(0, abs=1e-6)
    opposite = perceptual_distance(found, [-f for f in found])
    assert float(opposite) == pytest.approx(4, abs=1e-3)
    apart = perceptual_distance(found, wanted)
    assert float(perceptual_distance([7 * f for f in found], wanted)) == pytest.approx(
        float(apart), abs=1e-4
    )
    apart.backward()
    assert all(f.grad is not None for f in found)
    assert all(w.grad is None for w in wanted)


def test_matching_brings_samples_nearer_to_the_real_images(rows):
    maps = ColourNetwork(toy_classes()).stages
    apart = {}
    for weight in (0.0, 20.0):
        generator = build(match_weight=weight)
        generator.match_by(maps)
        train(generator, rows[0], 50)
        batch = draw_batch(rows[0], 16, SIZE, "none", generator_at(1, "look"))
        made = generator.sample(batch.labels, range(16))
        apart[weight] = float(perceptual_distance(maps(made), maps(batch.images)))
    assert apart[20.0] < 0.8 * apart[0.0]


def test_a_network_of_timm_may_be_matched_by(rows, tmp_path):
    torch.manual_seed(1)
    network = timm.create_model("test_resnet", num_classes=5)
    timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    generator = build(match_weight=1.0, match_network=str(tmp_path))
    generator.match_by(colour_labeller(make_fabric(1)).network.stages)  # not the one asked for
    (figures,) = train(generator, rows[0], 1)
    assert 0 < figures["match"] < 4
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    maps = timm_maps(str(tmp_path), "pretrained", CPU)(images)
    assert len(maps) > 2
    assert all(a.shape[-1] >= b.shape[-1] for a, b in itertools.pairwise(maps))
    same = timm_maps("test_resnet", str(tmp_path / "model.safetensors"), CPU)(images)
    assert all(torch.equal(a, b) for a, b in zip(maps, same, strict=True))


def test_a_transformer_takes_images_of_its_own_size_alone(tmp_path):
    timm.models.save_for_hf(
        timm.create_model("test_vit", num_classes=5), tmp_path, safe_serialization=True
    )
    images = torch.rand(1, 3, SIZE, SIZE, requires_grad=True)
    maps = timm_maps(str(tmp_path), "pretrained", CPU)(images)
    torch.stack([m.mean() for m in maps]).sum().backward()
    assert images.grad is not None


def test_a_network_that_cannot_be_had_is_told(rows, tmp_path):
    generator = build(match_weight=1.0, match_network="test_resnet",
                      match_weights=str(tmp_path / "none.safetensors"))  # fmt: skip
    with pytest.raises(WeightsUnavailable, match="does not exist"):
        train(generator, rows[0], 1)


def test_matching_the_labeller_without_one_is_refused(rows):
    with pytest.raises(SettingsError, match="match_weight needs a labeller"):
        train(build(match_weight=1.0), rows[0], 1)


def test_a_training_matches_by_the_labeller_and_leaves_it_as_it_is(rows, tmp_path):
    fabric = make_fabric(1)
    labeller = colour_labeller(fabric)
    before = {k: v.clone() for k, v in labeller.network.state_dict().items()}
    options = {"images": 8, "batch_size": 4, "width": 8, "checks": 1, "match_weight": 1.0,
               "style": "class"}  # fmt: skip
    train_generator(
        "spade", options, *rows, tmp_path, classes=toy_classes(), size=SIZE, labeller=labeller,
        seed=3, fabric=fabric,
    )  # fmt: skip
    assert all(torch.equal(v, before[k]) for k, v in labeller.network.state_dict().items())
    assert all(p.grad is None for p in labeller.network.parameters())
    assert '"match"' in (tmp_path / "log.jsonl").read_text()
