"""k + k steps equal 2k steps, wherever the process died; an early stop stays a stop."""

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from terraloom.files import read_lines
from terraloom.learning import loop
from terraloom.learning.loop import LoopPlan, finish_loop, run_loop


class Killed(Exception):
    """Stands for kill -9."""


class Trainee:
    """One linear layer that learns from NumPy's and torch's streams alike."""

    def __init__(self, die_at=None, stop_at=None):
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 2)
        self.adamw = AdamW(self.layer.parameters(), lr=0.05)
        self.steps, self.progress, self.checked = 0, [], []
        self.die_at, self.stop_at = die_at, stop_at

    def modules(self):
        return {"layer": self.layer}

    def optimizers(self):
        return {"adamw": self.adamw}

    def numbers(self):
        return {"steps": self.steps, "checked": self.checked}

    def restore_numbers(self, numbers):
        self.steps, self.checked = numbers["steps"], list(numbers["checked"])

    def step(self, random, progress):
        if self.steps == self.die_at:
            raise Killed
        data = torch.from_numpy(random.standard_normal((3, 4), dtype="float32"))
        loss = (self.layer(data) + torch.randn(3, 2)).square().mean()
        self.adamw.zero_grad()
        loss.backward()
        self.adamw.step()
        self.steps += 1
        self.progress.append(progress)
        return {"loss": float(loss.detach())}

    def check(self, images):
        self.checked.append(images)
        return images == self.stop_at


def plan(images=64, checks=4, seed=3):
    return LoopPlan(images, 4, checks, seed, "a test")


def weights(trainee):
    return torch.cat([p.detach().flatten() for p in trainee.layer.parameters()])


@pytest.mark.parametrize("die_at", [1, 4, 7, 8, 15])
def test_training_killed_at_any_step_ends_with_the_same_weights(die_at, tmp_path):
    straight = Trainee()
    assert run_loop(straight, plan(), tmp_path / "straight") == 64
    with pytest.raises(Killed):
        run_loop(Trainee(die_at=die_at), plan(), tmp_path / "torn")
    resumed = Trainee()
    assert run_loop(resumed, plan(), tmp_path / "torn") == 64
    assert torch.equal(weights(resumed), weights(straight))
    assert resumed.checked == straight.checked == [16, 32, 48, 64]
    # Only what was not yet in a checkpoint is done again.
    assert len(resumed.progress) == 16 - 4 * (die_at // 4)


def test_a_checkpoint_between_checks_is_as_good(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_EVERY_S", -1.0)
    straight = Trainee()
    run_loop(straight, plan(checks=1), tmp_path / "straight")
    with pytest.raises(Killed):
        run_loop(Trainee(die_at=5), plan(checks=1), tmp_path / "torn")
    resumed = Trainee()
    run_loop(resumed, plan(checks=1), tmp_path / "torn")
    assert torch.equal(weights(resumed), weights(straight))
    assert len(resumed.progress) == 11


def test_an_early_stop_persists(tmp_path):
    first = Trainee(stop_at=32)
    assert run_loop(first, plan(), tmp_path) == 32
    again = Trainee()
    assert run_loop(again, plan(), tmp_path) == 32
    assert again.progress == []
    assert torch.equal(weights(again), weights(first))


def test_progress_runs_from_nought_towards_one(tmp_path):
    trainee = Trainee()
    run_loop(trainee, plan(), tmp_path)
    assert trainee.progress == [i / 16 for i in range(16)]


def test_checks_are_spaced_evenly_and_the_last_is_at_the_end(tmp_path):
    trainee = Trainee()
    # 50 images are 13 steps of 4: checks after steps 5, 9, 13.
    assert run_loop(trainee, plan(images=50, checks=3), tmp_path) == 52
    assert trainee.checked == [20, 36, 52]
    assert [row["images"] for row in read_lines(tmp_path / "log.jsonl")] == [20, 36, 52]


def test_another_seed_ends_elsewhere(tmp_path):
    one, two = Trainee(), Trainee()
    run_loop(one, plan(), tmp_path / "one")
    run_loop(two, plan(seed=4), tmp_path / "two")
    assert not torch.equal(weights(one), weights(two))


def test_the_global_random_state_before_training_plays_no_part(tmp_path):
    one, two = Trainee(), Trainee()
    torch.manual_seed(1)
    run_loop(one, plan(), tmp_path / "one")
    torch.manual_seed(2)
    run_loop(two, plan(), tmp_path / "two")
    assert torch.equal(weights(one), weights(two))


def test_a_finished_training_leaves_its_log_and_no_state(tmp_path):
    run_loop(Trainee(), plan(), tmp_path)
    finish_loop(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]
