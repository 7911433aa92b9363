"""A writer is handed what it declares and nothing else; captions come shard by shard."""

import pytest

from terraloom.captioners._face import VISIBLE, Caption
from terraloom.captioning import caption_samples
from terraloom.files import sha256_of
from terraloom.testing import write_real


class Spy:
    """Writes one sentence a scene and remembers what it was shown."""

    name = "spy"

    def __init__(self, *sees):
        self.sees = frozenset(sees)
        self.shown = []

    def write(self, scenes):
        self.shown += scenes
        saw = tuple(v for v in VISIBLE if v in self.sees)
        return [
            [
                Caption(
                    s.sample_id, i, f"{i} {s.sample_id}", "spy", "vision", saw, "m", "p", i, "d"
                )
                for i in range(2)
            ]
            for s in scenes
        ]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_real(tmp_path_factory.mktemp("real"), 4, 2, 2)


def write(samples, spy, folder):
    return caption_samples(samples, spy, folder, settings_sha256="0" * 64, description="a test")


FIELDS = {"image": "image", "shares": "shares", "layout": "labels", "feedback": "feedback"}


@pytest.mark.parametrize("sees", [(), ("image",), ("shares",), ("layout",), ("image", "shares")])
def test_a_writer_sees_only_what_it_declares(sees, samples, tmp_path):
    spy = Spy(*sees)
    write(samples, spy, tmp_path)
    assert len(spy.shown) == 8
    for scene in spy.shown:
        for word, field in FIELDS.items():
            shown = getattr(scene, field) is not None
            assert shown == (word in sees and word != "feedback"), word


def test_what_a_writer_saw_is_recorded(samples, tmp_path):
    rows = write(samples, Spy("shares", "image"), tmp_path).read().to_pylist()
    assert {tuple(row["saw"]) for row in rows} == {("image", "shares")}
    assert {row["writer"] for row in rows} == {"spy"}


def test_captions_stand_in_the_order_of_their_samples(samples, tmp_path):
    rows = write(samples, Spy("image"), tmp_path).read().to_pylist()
    ids = samples.read(["id"])["id"].to_pylist()
    assert [(row["id"], row["index"]) for row in rows] == [(i, n) for i in ids for n in (0, 1)]


def test_pixels_reach_the_writer_as_they_are_stored(samples, tmp_path):
    spy = Spy("image", "layout")
    write(samples, spy, tmp_path)
    assert spy.shown[0].image.shape == (48, 64, 3)
    assert spy.shown[0].labels.shape == (48, 64)
    assert set(spy.shown[0].labels.ravel().tolist()) <= {0, 1, 2, 3, 255}


def test_places_are_told_by_compass_only_where_the_sample_has_a_place_on_earth(samples, tmp_path):
    spy = Spy()
    write(samples, spy, tmp_path)
    assert not any(scene.compass for scene in spy.shown)


def test_a_lost_shard_comes_again_to_the_same_bytes(samples, tmp_path):
    table = write(samples, Spy(), tmp_path)
    digest = sha256_of(table.paths[0])
    table.paths[0].unlink()
    (tmp_path / "manifest.json").unlink()
    spy = Spy()
    again = write(samples, spy, tmp_path)
    assert len(spy.shown) == samples.manifest["shards"][0]["rows"]
    assert sha256_of(again.paths[0]) == digest
