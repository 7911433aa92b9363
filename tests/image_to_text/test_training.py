"""A captioner learns, resumes exactly, refuses other roles, and says when it cannot be had."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.image_to_text.toy import an_image, settings, toy_captioned, weights_of

from terraloom.errors import (
    BadCheckpoint,
    DivergedTraining,
    InputError,
    NewerFormat,
    RoleError,
    SettingsError,
    StageMissing,
    WeightsUnavailable,
)
from terraloom.files import read_json, sha256_of, write_json
from terraloom.image_to_text import network, training
from terraloom.image_to_text.captioned import captioned_train
from terraloom.image_to_text.training import load_captioner, train_captioner
from terraloom.learning import loop
from terraloom.learning.device import make_fabric
from terraloom.testing import toy_rows

FABRIC = make_fabric(1)
SCRIPT = Path(__file__).parent / "killed_training.py"


def train(folder, chosen=None, seed=3, texts=None, rows=None):
    fitted, held = rows or toy_captioned(texts=texts)
    return train_captioner(
        fitted, held, chosen or settings("real"), folder, seed=seed, fabric=FABRIC, description="t"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner")
    return folder, train(folder)


def test_what_is_kept_can_be_loaded_and_says_the_same(finished):
    folder, trained = finished
    images = [an_image(seed) for seed in range(3)]
    again = load_captioner(folder, FABRIC)
    assert torch.equal(weights_of(again.model), weights_of(trained.model))
    assert again.captions(images) == trained.captions(images)
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == [
        "log.jsonl", "state.json", "weights.safetensors", "words.json",
    ]  # fmt: skip


def test_the_record_tells_budget_rows_and_history(finished):
    state = read_json(finished[0] / "state.json")
    assert state["summary"]["images"] == 16
    assert [entry["images"] for entry in state["summary"]["history"]] == [8, 16]
    best = min(state["summary"]["history"], key=lambda entry: entry["val_loss"])
    assert state["summary"]["best_val_loss"] == best["val_loss"]
    assert state["summary"]["best_images"] == best["images"]
    assert state["rows"] == {"train": 8, "val": 4}
    assert state["captions"] == {"train": 16, "val": 8}


def test_two_things_that_look_different_get_different_captions(tmp_path):
    rows, held = toy_rows(8, 4)
    dark = [row.image.mean() < 110 for row in [*rows.rows, *held.rows]]
    texts = {
        row.id: ("a dark lake",) if is_dark else ("bright crops",)
        for row, is_dark in zip([*rows.rows, *held.rows], dark, strict=True)
    }
    for row, is_dark in zip([*rows.rows, *held.rows], dark, strict=True):
        row.image[:] = 20 if is_dark else 230
    from terraloom.image_to_text.captioned import captioned_val

    chosen = settings("real", training={"images": 320, "batch_size": 8, "augment": "none"})
    trained = train(
        tmp_path, chosen, rows=(captioned_train(rows, texts), captioned_val(held, texts))
    )
    black, white = an_image() * 0 + 20, an_image() * 0 + 230
    assert trained.captions([black, white, black]) == ["A dark lake", "Bright crops", "A dark lake"]
    assert trained.captions([white], beams=3) == ["Bright crops"]


class Killed(Exception):
    """Stands for kill -9."""


@pytest.mark.parametrize("die_at", [1, 3])
def test_k_and_k_steps_are_two_k_steps(die_at, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINT_EVERY_S", -1.0)
    straight = train(tmp_path / "straight")
    step = training._CaptionTrainee.step

    def mortal(self, random, progress):
        if self.updates == die_at:
            raise Killed
        return step(self, random, progress)

    monkeypatch.setattr(training._CaptionTrainee, "step", mortal)
    with pytest.raises(Killed):
        train(tmp_path / "torn")
    steps = []
    monkeypatch.setattr(
        training._CaptionTrainee, "step",
        lambda self, random, progress: steps.append(1) or step(self, random, progress),
    )  # fmt: skip
    resumed = train(tmp_path / "torn")
    assert len(steps) == 4 - die_at
    assert torch.equal(weights_of(resumed.model), weights_of(straight.model))
    for name in ("state.json", "weights.safetensors", "words.json"):
        assert sha256_of(tmp_path / "torn" / name) == sha256_of(tmp_path / "straight" / name)


@pytest.mark.slow
def test_a_process_killed_in_the_middle_ends_with_the_same_bytes(tmp_path):
    subprocess.run([sys.executable, SCRIPT, tmp_path / "whole"], check=True, capture_output=True)
    process = subprocess.Popen(
        [sys.executable, SCRIPT, tmp_path / "killed"], stderr=subprocess.DEVNULL
    )
    while not (tmp_path / "killed" / "latest.json").exists() and process.poll() is None:
        time.sleep(0.005)
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert killed
    assert not (tmp_path / "killed" / "state.json").exists()
    subprocess.run([sys.executable, SCRIPT, tmp_path / "killed"], check=True, capture_output=True)
    for name in ("state.json", "weights.safetensors", "words.json"):
        assert sha256_of(tmp_path / "killed" / name) == sha256_of(tmp_path / "whole" / name)
    assert not list((tmp_path / "killed").glob("*images-*"))


def test_another_seed_ends_elsewhere_and_val_changes_no_weight_of_the_last_check(
    tmp_path, finished
):
    other = train(tmp_path / "other", seed=4)
    assert not torch.equal(weights_of(other.model), weights_of(finished[1].model))


def test_rows_of_another_role_are_refused(tmp_path):
    fitted, held = toy_captioned()
    for rows in ((held, held), (fitted, fitted)):
        with pytest.raises(RoleError, match="CaptionedTrain and steered by CaptionedVal"):
            train(tmp_path, rows=rows)


def test_a_loss_that_is_no_number_is_told(tmp_path):
    chosen = settings("real", training={"learning_rate": 1e30, "clip_norm": 1e30, "warm_up": 0})
    with pytest.raises(DivergedTraining, match=r"learning_rate"):
        train(tmp_path, chosen)


def test_hostile_captions_are_learned_as_words_and_nothing_breaks(tmp_path):
    fitted, held = toy_rows(4, 2)
    hostile = (
        "<script>alert(1)</script>", "\u202eretaw\u202c \ud800 water", "<end> <pad> [PAD]",
        "$(rm -rf /) 100 % of \x00 the scene", "w" * 5000, "é" * 40 + " ß 水 面",
    )  # fmt: skip
    texts = {row.id: hostile for row in [*fitted.rows, *held.rows]}
    from terraloom.image_to_text.captioned import captioned_val

    trained = train(tmp_path, rows=(captioned_train(fitted, texts), captioned_val(held, texts)))
    (said,) = trained.captions([an_image()])
    said.encode("utf-8")


def test_damaged_records_and_weights_are_told(finished, tmp_path):
    with pytest.raises(StageMissing, match="no finished captioner"):
        load_captioner(tmp_path, FABRIC)
    for name, change, error in (
        ("state.json", lambda p: write_json(p, {"version": 99}), NewerFormat),
        ("state.json", lambda p: write_json(p, {"version": 1}), BadCheckpoint),
        ("words.json", lambda p: p.unlink(), BadCheckpoint),
        ("weights.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-9]), BadCheckpoint),
    ):
        folder = tmp_path / f"{name}-{error.__name__}"
        shutil.copytree(finished[0], folder)
        change(folder / name)
        with pytest.raises(error):
            load_captioner(folder, FABRIC)
    state = read_json(finished[0] / "state.json")
    state["model"]["config"]["encoder"] = {"model_type": "vit", "hidden_size": "wide"}
    write_json(folder / "state.json", state)
    with pytest.raises(BadCheckpoint):
        load_captioner(folder, FABRIC)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A tiny model as a publisher saves it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, ViTImageProcessor

    folder = tmp_path_factory.mktemp("published")
    fitted, _ = toy_captioned()
    chosen = settings("real")
    model = network.new_model(chosen, fitted, 9)
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    for word in model.words.words:
        vocabulary[word] = len(vocabulary)
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>",
    )  # fmt: skip
    model.network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def test_a_pretrained_model_is_trained_on_and_loaded_without_its_source(pretrained, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(pretrained, source)
    chosen = settings("real", model=str(source))
    trained = train(tmp_path / "cell", chosen)
    before = network.new_model(chosen, toy_captioned()[0], 1)
    assert weights_of(before).shape == weights_of(trained.model).shape
    shutil.rmtree(source)
    again = load_captioner(tmp_path / "cell", FABRIC)
    images = [an_image(seed) for seed in range(2)]
    assert again.captions(images) == trained.captions(images)
    assert again.model.mean == (0.5, 0.5, 0.5)
    assert not [p for p in (tmp_path / "cell").rglob("*") if p.suffix in (".bin", ".pkl", ".pt")]


def test_a_pretrained_model_that_cannot_be_had_names_the_ways_out(
    pretrained, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable, match=r"Ways out: fetch it .*small"):
        train(tmp_path / "a", settings("real", model="nobody/such-model"))
    pickled = tmp_path / "pickled"
    shutil.copytree(pretrained, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(WeightsUnavailable, match=r"may be a pickle.*Ways out"):
        train(tmp_path / "b", settings("real", model=str(pickled)))
    torn = tmp_path / "torn"
    shutil.copytree(pretrained, torn)
    whole = (torn / "model.safetensors").read_bytes()
    (torn / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCheckpoint, match="damaged or cut short"):
        train(tmp_path / "c", settings("real", model=str(torn)))
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(whole)
    (other / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(InputError, match="of type 'gpt2'; it takes a VisionEncoderDecoderModel"):
        train(tmp_path / "d", settings("real", model=str(other)))


def test_without_the_library_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SettingsError, match=r'pip install "terraloom\[transformers\]"'):
        train(tmp_path)
