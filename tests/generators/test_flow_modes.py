"""What `flow` can be asked for beside masks: shares, pairs, a labeller's gradient, few steps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from terraloom.dataset.rows import TrainRows
from terraloom.errors import SettingsError
from terraloom.files import sha256_of
from terraloom.generators import _flow_distillation
from terraloom.generators._face import DataShape
from terraloom.generators._flow_core import _codes
from terraloom.generators.flow import FlowGenerator, Settings
from terraloom.learning.batches import draw_batch
from terraloom.learning.device import make_fabric
from terraloom.seeds import generator_at
from terraloom.testing import colour_labeller, toy_classes, toy_rows

SIZE = 32
CLASSES = len(toy_classes())


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(1)


@pytest.fixture(scope="module")
def rows():
    return toy_rows(12, 1)[0]


def flow(fabric, **options):
    torch.manual_seed(0)
    settings = Settings(widths=(16, 32), ema=0.9, batch_size=8, **options)
    return FlowGenerator(settings, DataShape(CLASSES, SIZE, (0.4,) * 3, (0.2,) * 3), fabric)


def train(generator, rows, steps):
    for step in range(steps):
        random = generator_at(0, "step", step)
        generator.step(draw_batch(rows, 8, SIZE, "geometry", random), random, step / steps)


def test_samples_for_one_mask_have_tones_as_different_as_the_images(fabric):
    # From white noise the tone is decided before the first step is done: all samples got the mean.
    tones = np.linspace(-70, 70, 12)
    (first, *_), _ = toy_rows(1, 1)
    rows = TrainRows(
        tuple(
            replace(first, id=f"{tone:g}", image=(first.image + tone).clip(0, 255).astype(np.uint8))
            for tone in tones
        )
    )
    generator = flow(fabric, steps=8)
    train(generator, rows, 150)
    labels = torch.from_numpy(first.mask[:SIZE, :SIZE]).long().expand(32, -1, -1)
    made = generator.sample(labels, range(32)).mean(dim=(1, 2, 3)).std()
    real = np.std([row.image[:SIZE, :SIZE].mean() / 255 for row in rows.rows])
    assert 0.7 * real < made < 1.4 * real


def shares_seen(images, fabric):
    shown = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    labels = colour_labeller(fabric).probabilities(list(shown)).argmax(axis=1)
    return np.stack([np.bincount(m.ravel(), minlength=CLASSES) / m.size for m in labels])


def test_asked_shares_come_out_after_a_short_training(fabric, rows):
    generator = flow(fabric, shares=True, free_share=0.9, steps=4)
    train(generator, rows, 150)
    wanted = torch.eye(CLASSES) * 0.8 + 0.2 / CLASSES
    seen = []
    for one in wanted:
        seen.append(
            shares_seen(generator.sample_shares(one.expand(6, -1), range(6)), fabric).mean(axis=0)
        )
    # Each class is seen most where most of it was asked for.
    assert (np.stack(seen).argmax(axis=0) == np.arange(CLASSES)).all()


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 8, 11])
def test_every_label_comes_back_from_its_digits(classes):
    codes = _codes(classes)
    assert codes.abs().eq(1).all()
    assert (codes @ codes.T).argmax(dim=1).tolist() == list(range(classes))


def test_pairs_fit_together_after_a_short_training(fabric, rows):
    generator = flow(fabric, joint=True, steps=4)
    train(generator, rows, 150)
    images, labels = generator.sample_pairs(range(8))
    shown = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    read = colour_labeller(fabric).probabilities(list(shown)).argmax(axis=1)
    shuffled = np.roll(labels.numpy(), 1, axis=0)
    assert (read == labels.numpy()).mean() > (read == shuffled).mean() + 0.2


def test_feedback_makes_samples_agree_with_the_labeller(fabric, rows):
    labels = torch.stack([torch.from_numpy(rows[i].mask[:SIZE, :SIZE]) for i in range(4)]).long()
    network = colour_labeller(fabric).network
    agreement = {}
    for strength in (0.0, 2.0):
        generator = flow(fabric, feedback=strength, steps=6, guidance=1)
        generator.guide_by(network)
        before = [p.clone() for p in generator.average.parameters()]
        read = network(generator.sample(labels, [1, 2, 3, 4])).argmax(dim=1)
        agreement[strength] = float((read == labels).float().mean())
        assert all(
            torch.equal(a, b) for a, b in zip(before, generator.average.parameters(), strict=True)
        )
    assert agreement[2.0] > agreement[0.0] + 0.2


def test_feedback_leaves_free_samples_alone(fabric):
    free = torch.full((2, SIZE, SIZE), 255)
    plain, fed = flow(fabric, steps=2), flow(fabric, steps=2, feedback=2.0)
    fed.guide_by(colour_labeller(fabric).network)
    assert torch.equal(plain.sample(free, [1, 2]), fed.sample(free, [1, 2]))


def test_feedback_without_a_labeller_is_refused(fabric):
    generator = flow(fabric, steps=2, feedback=1.0)
    with pytest.raises(SettingsError, match="needs a labeller"):
        generator.sample(torch.zeros(1, SIZE, SIZE).long(), [1])


def test_the_image_of_a_pair_is_the_one_that_its_mask_would_get(fabric, rows):
    generator = flow(fabric, joint=True, steps=2)
    train(generator, rows, 20)
    images, labels = generator.sample_pairs([3, 4])
    assert torch.equal(images, generator.sample(labels, [3, 4]))
    assert not torch.equal(images, generator.sample(labels.flip(0), [3, 4]))


def test_a_flow_of_pairs_takes_masks_as_well(fabric, rows):
    generator = flow(fabric, joint=True, steps=4)
    assert generator.makes == {"conditional", "unconditional", "joint"}
    train(generator, rows, 200)
    labels = torch.stack([torch.from_numpy(rows[i].mask[:SIZE, :SIZE]) for i in range(6)]).long()
    shown = (generator.sample(labels, range(6)).permute(0, 2, 3, 1) * 255).round()
    read = colour_labeller(fabric).probabilities(list(shown.to(torch.uint8).numpy())).argmax(axis=1)
    shuffled = np.roll(labels.numpy(), 1, axis=0)
    assert (read == labels.numpy()).mean() > (read == shuffled).mean() + 0.2


def test_what_teaches_masks_leaves_images_alone(fabric, rows):
    """A mask in the making sees no image, and the other way about."""
    generator = flow(fabric, joint=True, steps=2)
    masks = torch.tensor([True, False])
    labels = torch.full((2, SIZE, SIZE), 255)
    made = generator.integrate(generator._condition(labels, None, masks), [1, 2])
    assert not made[0, :3].any()
    assert made[0, 3:].any()
    assert made[1, :3].any()
    assert not made[1, 3:].any()


def test_shares_cannot_be_asked_of_a_flow_without_them(fabric):
    generator = flow(fabric, steps=2)
    with pytest.raises(SettingsError, match="shares = true"):
        generator.sample_shares(torch.eye(CLASSES), range(CLASSES))


@pytest.mark.parametrize("options", [{}, {"shares": True}, {"joint": True}])
def test_a_student_comes_nearer_to_its_teacher_than_the_teacher_in_as_few_steps(
    options, fabric, rows, tmp_path
):
    teacher = flow(
        fabric, steps=8, guidance=1, distil_steps=1, distil_pairs=64, rate=3e-3, **options
    )
    train(teacher, rows, 60)
    student = teacher.student()
    teacher.teach(student, rows, tmp_path / "pairs", 3)
    rushed = flow(fabric, steps=1, sampler="euler", guidance=1, **options)
    rushed.average.load_state_dict(teacher.average.state_dict())
    rushed.memory.load_state_dict(teacher.memory.state_dict())
    train(student, rows, 60)
    labels = torch.full((16, SIZE, SIZE), 255)
    seeds = list(range(100, 116))
    target = teacher.sample(labels, seeds)
    before = (rushed.sample(labels, seeds) - target).square().mean()
    after = (student.sample(labels, seeds) - target).square().mean()
    assert float(after) < 0.8 * float(before)
    assert not hasattr(student, "student")


def test_pairs_that_were_lost_come_again_to_the_same_bytes(fabric, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(_flow_distillation, "_SHARD", 8)
    teacher = flow(fabric, steps=2, distil_steps=1, distil_pairs=20)
    for name in ("whole", "torn"):
        teacher.teach(teacher.student(), rows, tmp_path / name, 3)
    files = sorted((tmp_path / "torn").iterdir())
    assert len(files) == 3
    files[1].unlink()
    kept = files[0].stat().st_mtime_ns
    teacher.teach(teacher.student(), rows, tmp_path / "torn", 3)
    assert files[0].stat().st_mtime_ns == kept
    for file in files:
        assert sha256_of(file) == sha256_of(tmp_path / "whole" / file.name)
