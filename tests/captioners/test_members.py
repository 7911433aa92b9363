"""What holds for every captioner, whatever it asks. A new member is tested as it stands."""

import inspect
import os

import numpy as np
import pytest
import torch
from tests.captioners.model_server import serving
from tests.captioners.test_openai import scenes
from tests.captioners.tiny_models import save_tiny

from terraloom import families
from terraloom.captioners._face import (
    VISIBLE,
    Caption,
    Failure,
    Mode,
    ModelCaptioner,
    Rewrite,
    shown_to,
)
from terraloom.captioning import caption_samples
from terraloom.repairing import Care, claims_check
from terraloom.tables import Table
from terraloom.testing import toy_classes, write_real

CLASSES = toy_classes()
MEMBERS = families.members("captioners")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Settings that make a member work here; a member that is not named works by its defaults."""
    model = save_tiny("gemma", tmp_path_factory.mktemp("models") / "tiny-gemma")
    with serving() as server:
        yield {
            "openai": {"model": "toy", "base_url": server.url, "captions_per_image": 3},
            "transformers": {
                "model": str(model), "device": "cpu", "max_tokens": 48, "corrections": 6,
                "captions_per_image": 3,
            },
        }  # fmt: skip


@pytest.fixture(params=MEMBERS)
def make(request, options):
    module = families.member("captioners", request.param)
    settings = module.Settings(**options.get(request.param, {}))
    return lambda seed=3: module.build(settings, CLASSES, seed)


def written(captioner, given):
    return captioner.write(shown_to(captioner, given))


def test_every_member_is_frozen_strict_and_documented(make, request):
    module = families.member("captioners", request.node.callspec.params["make"])
    assert module.Settings.model_config["frozen"]
    assert module.Settings.model_config["extra"] == "forbid"
    assert list(inspect.signature(module.build).parameters) == ["settings", "classes", "seed"]
    assert module.__doc__
    for name in module.Settings.model_fields:
        assert any(
            f"    {name}:" in inspect.getsource(base)
            for base in module.Settings.__mro__
            if base.__module__.startswith("terraloom")
        )


def test_captions_come_in_order_and_differ_within_their_sample(make):
    made = make()
    found = written(made, scenes(3))
    assert [{c.sample_id for c in own} for own in found] == [{"s00"}, {"s01"}, {"s02"}]
    for own in found:
        assert [c.index for c in own] == list(range(len(own)))
        assert len({c.text for c in own}) == len(own) >= 3


def test_records_are_whole(make):
    made = make()
    modes = Mode.__args__
    for own in written(made, scenes(2)):
        for c in own:
            assert isinstance(c, Caption)
            assert c.writer == made.name
            assert c.mode in modes
            assert set(c.saw) <= made.sees
            assert c.saw == tuple(v for v in VISIBLE if v in c.saw)
            assert "feedback" not in c.saw
            asks = isinstance(made, ModelCaptioner)
            assert (c.model is not None) == (c.prompt_sha256 is not None) == asks
            assert (c.decoding is not None) == asks
            assert c.seed is not None


def test_no_digit_and_no_percentage_gets_through(make):
    for own in written(make(), scenes(4)):
        for c in own:
            assert not any(ch.isnumeric() or ch == "%" for ch in c.text)


def test_a_sample_is_captioned_the_same_whatever_its_batch_mates(make):
    together = written(make(), scenes(3))
    alone = [written(make(), [scene])[0] for scene in scenes(3)]
    assert [list(own) for own in together] == [list(own) for own in alone]


def test_another_seed_gives_other_captions_and_the_same_seed_the_same(make):
    first, again, other = (
        [[c.text for c in own] for own in written(make(seed), scenes(2))] for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_nothing_global_is_touched(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = make()
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy()
    environment = dict(os.environ)
    written(made, scenes(1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert list(tmp_path.iterdir()) == []
    assert {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"} == {
        k: v for k, v in environment.items() if k != "PYTEST_CURRENT_TEST"
    }


def test_it_works_from_what_it_declares(make):
    """Everything else is hidden from it, and it neither needs nor misses it."""
    made = make()
    for scene in shown_to(made, scenes(1, feedback="x")):
        hidden = {"image": scene.image, "layout": scene.labels, "shares": scene.shares}
        for word, value in hidden.items():
            assert (value is not None) == (word in made.sees)
        assert all(isinstance(c, Caption) for c in made.write([scene])[0])


def test_no_scenes_give_no_captions(make):
    assert list(make().write([])) == []


def test_a_mask_without_any_known_pixel_breaks_nothing(make):
    [scene] = scenes(1)
    labels = np.full((32, 32), 255, np.uint8)
    blank = type(scene)("blank", scene.image, labels, np.zeros(4, np.float32), True)
    [own] = written(make(), [blank])
    assert own
    for c in own:
        assert isinstance(c, Caption | Failure)
        assert (c.text if isinstance(c, Caption) else c.message).strip()


def test_tables_follow_and_a_lost_shard_comes_again_to_the_same_bytes(make, tmp_path):
    samples = write_real(tmp_path / "samples", 2, 1, 1)
    substitute = families.member("captioners", "template")
    folder = tmp_path / "out"

    def caption():
        made = make()
        if isinstance(made, ModelCaptioner):
            made.keep_in(tmp_path / "answers")
        care = Care(claims_check(CLASSES), 1, substitute.build(substitute.Settings(), CLASSES, 3))
        return caption_samples(
            samples, made, folder / "real", settings_sha256="0" * 64, description="t",
            care=care if isinstance(made, ModelCaptioner) else None,
        )  # fmt: skip

    first = caption().paths[0].read_bytes()
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    assert caption().paths[0].read_bytes() == first
    assert Table.open(folder / "real").num_rows >= 12


def test_who_asks_a_model_can_be_told_what_is_wrong(make):
    made = make()
    if not isinstance(made, ModelCaptioner):
        pytest.skip(f"{made.name} asks no model")
    [first] = written(made, scenes(1))
    [scene] = shown_to(made, scenes(1, feedback="There is no water in the scene."))
    [again] = made.rewrite([Rewrite(scene, 1, 1, first[1].text, (first[0].text, first[2].text))])
    assert isinstance(again, Caption)
    assert again.index == 1
    assert again.saw == (*first[1].saw, "feedback")
    assert again.text not in {c.text for c in first}
    assert made.forget_failed() == 0
