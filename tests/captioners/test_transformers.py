"""The transformers captioner with tiny models made here: causal, Gemma 3 and Qwen3-VL in small."""

import json
import shutil
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from tests.captioners.test_openai import scenes
from tests.captioners.tiny_models import ROLES, SPECIAL, TEMPLATE, WORDS, save_tiny

from terraloom.captioners import _transformers_backend as backend
from terraloom.captioners._face import VISIBLE, Caption, Failure, shown_to
from terraloom.captioners._prompts import Decoding
from terraloom.captioners.transformers import Settings, build
from terraloom.errors import BadCheckpoint, InputError, SettingsError, WeightsUnavailable
from terraloom.testing import toy_classes

CLASSES = toy_classes()
KINDS = {"causal": "language", "gemma": "vision-language", "qwen": "vision-language"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return {kind: save_tiny(kind, folder / f"tiny-{kind}") for kind in KINDS}


def writer(folder, kind, store=None, seed=3, **options):
    given = {
        "model": str(folder), "mode": KINDS[kind], "device": "cpu", "max_tokens": 48,
        "captions_per_image": 3, "corrections": 6,
    } | options  # fmt: skip
    made = build(Settings(**given), CLASSES, seed)
    if store is not None:
        made.keep_in(store)
    return made


def written(captioner, count=2):
    return [c for of in captioner.write(shown_to(captioner, scenes(count))) for c in of]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_model_writes_captions(kind, tiny):
    found = written(writer(tiny[kind], kind))
    assert all(isinstance(c, Caption) for c in found)
    assert len({c.text for c in found}) == 6
    for c in found:
        assert set(c.text.split()) <= {*WORDS, *ROLES, *SPECIAL}
        assert c.writer == "transformers"
        assert c.model.startswith(f"tiny-{kind}@")
        assert str(tiny[kind].parent) not in c.model
        assert c.saw == (("layout",) if kind == "causal" else ("image", "layout"))
        assert c.decoding == "temperature 0.7, top-p 0.9, at most 48 tokens"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_caption_is_the_same_whatever_its_batch_mates(kind, prefetch, tiny):
    """On these models, whose scores lie far apart; see the module for the rare exception."""
    alone = written(writer(tiny[kind], kind, batch_size=1), 3)
    together = written(writer(tiny[kind], kind, batch_size=4, prefetch=prefetch), 3)
    assert alone == together
    assert len({c.text for c in alone}) == 9


def test_captions_follow_the_seed_and_leave_the_global_random_state_alone(tiny):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = written(writer(tiny["causal"], "causal"))
    assert torch.equal(torch.get_rng_state(), before)
    assert written(writer(tiny["causal"], "causal")) == first
    other = {c.text for c in written(writer(tiny["causal"], "causal", seed=4))}
    assert other.isdisjoint(c.text for c in first)


def test_greedy_decoding_needs_no_seed(tiny):
    options = {"temperature": 0.0, "prompt": "paper", "captions_per_image": 1, "corrections": 0}
    first = written(writer(tiny["qwen"], "qwen", **options))
    other = written(writer(tiny["qwen"], "qwen", seed=9, **options))
    assert [getattr(c, "text", c.sample_id) for c in first] == [
        getattr(c, "text", c.sample_id) for c in other
    ]


def test_what_the_model_sees_changes_what_it_writes(tiny):
    made = writer(tiny["gemma"], "gemma", mode="vision")
    [scene] = shown_to(made, scenes(1))
    [first] = made.write([scene])
    dark = type(scene)(
        scene.sample_id, 255 - scene.image, scene.labels, scene.shares, scene.compass
    )
    [second] = made.write([dark])
    assert [c.seed for c in first] == [c.seed for c in second]
    assert [c.text for c in first] != [c.text for c in second]


def test_a_multimodal_model_writes_from_facts_alone_too(tiny):
    found = written(writer(tiny["gemma"], "gemma", mode="language"))
    assert all(isinstance(c, Caption) and c.saw == ("layout",) for c in found)


def test_answers_are_kept_and_the_model_is_not_loaded_for_them(tiny, tmp_path, monkeypatch):
    first = written(writer(tiny["causal"], "causal", tmp_path))
    monkeypatch.setattr(backend, "load_model", lambda *a, **k: pytest.fail("loaded"))
    again = writer(tiny["causal"], "causal", tmp_path)
    assert written(again) == first
    assert again.forget_failed() == 0


def test_texts_that_reach_the_limit_are_failures(tiny):
    found = written(writer(tiny["causal"], "causal", max_tokens=8, corrections=0), 4)
    assert any(isinstance(c, Failure) and "cut off" in c.message for c in found)


def test_inputs_are_made_ahead_by_another_thread(tiny, monkeypatch):
    threads = set()
    made = writer(tiny["causal"], "causal", batch_size=2)
    real = backend.TransformersBackend._templated

    def spy(self, conversations):
        threads.add(threading.current_thread().name)
        return real(self, conversations)

    monkeypatch.setattr(backend.TransformersBackend, "_templated", spy)
    written(made)
    assert all(name.startswith("inputs") for name in threads)


def test_a_template_without_system_role_gets_its_text_in_the_users_turn(tiny, tmp_path):
    strict = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    )
    folder = save_tiny("causal", tmp_path / "strict", strict + TEMPLATE)
    assert all(isinstance(c, Caption) for c in written(writer(folder, "causal")))


# ---------------------------------------------------------------------------------- bad models


def test_a_model_that_is_nowhere_is_told_with_ways_out(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    made = writer("nobody/no-such-model", "causal")
    with pytest.raises(WeightsUnavailable, match=r"could not be loaded.*Ways out.*hf download"):
        written(made)


def test_pickled_weights_are_refused_by_name(tiny, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(tiny["causal"], folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"whatever")
    with pytest.raises(WeightsUnavailable, match=r"pytorch_model\.bin, which may be a pickle"):
        written(writer(folder, "causal"))


def test_an_empty_folder_is_told(tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(WeightsUnavailable, match="has no safetensors"):
        written(writer(tmp_path / "m", "causal"))


def test_damaged_weights_are_told(tiny, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(tiny["causal"], folder)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadCheckpoint, match="damaged or cut short"):
        written(writer(folder, "causal"))


def test_weights_that_lack_tensors_are_not_filled_with_noise(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "m"
    shutil.copytree(tiny["causal"], folder)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.layers.0.mlp.up_proj.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadCheckpoint, match=r"lack 1 tensors.*up_proj"):
        written(writer(folder, "causal"))


def test_a_language_model_is_shown_no_image(tiny):
    with pytest.raises(InputError, match=r"sees no images. Set mode = \"language\""):
        written(writer(tiny["causal"], "causal", mode="vision"))


def test_a_model_without_chat_template_is_refused(tmp_path):
    folder = save_tiny("causal", tmp_path / "base", None)
    with pytest.raises(InputError, match="has no chat template"):
        written(writer(folder, "causal"))


def test_code_of_a_publisher_is_not_run(tiny, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(tiny["causal"], folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    config["model_type"] = "evil"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(InputError):
        written(writer(folder, "causal"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_told(tiny):
    with pytest.raises(SettingsError, match="there is no GPU here"):
        written(writer(tiny["causal"], "causal", device="cuda"))


@pytest.mark.parametrize("options", [{"model": ""}, {"batch_size": 0}, {"trust_remote_code": True}])
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(ValidationError):
        Settings(**({"model": "m"} | options))


# ------------------------------------------------------------------------------------ sampling


@settings(deadline=None)
@given(arrays(np.float32, 12, elements=st.floats(-4, 4, width=32)), st.floats(0.1, 1.0))
def test_the_nucleus_is_the_smallest_set_that_holds_its_share(scores, top_p):
    kept = torch.isfinite(backend.nucleus(torch.from_numpy(scores)[None], top_p))[0].numpy()
    chances = np.exp(scores - scores.max(), dtype=np.float64)
    chances /= chances.sum()
    order = np.argsort(-chances, kind="stable")
    fewest = int(np.searchsorted(np.cumsum(chances[order]), top_p - 1e-5) + 1)
    assert kept.sum() in (fewest - 1, fewest, fewest + 1)  # rounding at the edge
    assert chances[kept].sum() >= top_p - 1e-4
    if not kept.all():
        assert chances[kept].min() >= chances[~kept].max() - 1e-6


def test_seeded_noise_draws_from_the_distribution_of_its_scores():
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0, -3.0]])
    wanted = torch.softmax(scores / 0.7, dim=-1)[0]
    draws = 4000
    sampling = backend.SeededSampling(
        Decoding(0.7, 1.0, 10), list(range(draws)), torch.device("cpu")
    )
    tokens = sampling(torch.zeros(draws, 1), scores.repeat(draws, 1)).argmax(dim=-1)
    found = torch.bincount(tokens, minlength=5) / draws
    # Five standard deviations of a share.
    assert torch.all((found - wanted).abs() <= 5 * (wanted * (1 - wanted) / draws).sqrt() + 1e-3)


def test_rows_draw_the_same_whatever_stands_beside_them():
    scores = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    decoding = Decoding(0.7, 0.9, 10)
    device = torch.device("cpu")
    together = backend.SeededSampling(decoding, [1, 2, 3], device)
    for _ in range(3):
        noisy = together(scores, scores)
    for row, seed in enumerate([1, 2, 3]):
        alone = backend.SeededSampling(decoding, [seed], device)
        for _ in range(3):
            own = alone(scores, scores[row : row + 1])
        assert torch.equal(own[0], noisy[row])


def test_every_word_of_what_is_seen_is_known():
    made = build(Settings(model="m"), CLASSES, 0)
    assert made.sees <= set(VISIBLE)
