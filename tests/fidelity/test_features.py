"""Feature tables follow the samples, resume by shard, and are never stale."""

from collections import Counter

import numpy as np
import pytest

from terraloom.errors import InputError
from terraloom.fidelity.features import (
    drawn_features,
    feature_blocks,
    feature_table,
    group_counts,
    shard_features,
)
from terraloom.testing import write_real


class Colours:
    """Mean and deviation of each channel."""

    name = "colours"

    def __init__(self, sha256="1" * 64):
        self.sha256 = sha256
        self.seen = 0

    def features(self, images):
        self.seen += len(images)
        stacked = np.stack(images).astype(np.float32)
        return np.concatenate([stacked.mean(axis=(1, 2)), stacked.std(axis=(1, 2))], axis=1)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write_real(tmp_path_factory.mktemp("samples") / "real", 30, 12, 5, 48, 48)


def test_rows_follow_the_samples_and_roles_left_out_are_not_looked_at(real, tmp_path):
    encoder = Colours()
    table = feature_table(real, encoder, tmp_path, size=32, roles=("train", "val"))
    assert encoder.seen == 42
    assert group_counts(table) == {"train": 30, "val": 12}
    assert [path.name for path in table.paths] == [path.name for path in real.paths]
    blocks = list(feature_blocks(table, "val"))
    assert sum(map(len, blocks)) == 12
    assert blocks[0].dtype == np.float32
    shards = [shard_features(table, path.name) for path in table.paths]
    assert np.concatenate([s for s in shards if len(s)]).shape == (42, 6)


def test_a_second_call_reads_and_other_weights_crops_or_samples_are_made_anew(real, tmp_path):
    encoder = Colours()
    first = feature_table(real, encoder, tmp_path, size=32)
    seen = encoder.seen
    assert feature_table(real, encoder, tmp_path, size=32).folder == first.folder
    assert encoder.seen == seen
    folders = {
        first.folder,
        feature_table(real, encoder, tmp_path, size=48).folder,
        feature_table(real, Colours("2" * 64), tmp_path, size=32).folder,
        feature_table(real, encoder, tmp_path, size=32, shuffled=1).folder,
    }
    assert len(folders) == 4


def test_a_killed_run_repeats_no_finished_shard(real, tmp_path):
    class Fatal(Colours):
        def features(self, images):
            if self.seen > 20:
                raise KeyboardInterrupt
            return super().features(images)

    with pytest.raises(KeyboardInterrupt):
        feature_table(real, Fatal(), tmp_path, size=32)
    done = Counter(path.suffix for path in tmp_path.glob("*/*"))[".parquet"]
    assert done > 0
    encoder = Colours()
    table = feature_table(real, encoder, tmp_path, size=32)
    assert encoder.seen < real.num_rows
    whole = feature_table(real, Colours(), tmp_path / "other", size=32)
    for one, two in zip(table.paths, whole.paths, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_shuffled_images_keep_their_colours_and_nothing_else(real, tmp_path):
    class Edges(Colours):
        def features(self, images):
            stacked = np.stack(images).astype(np.float32)
            step = np.abs(np.diff(stacked, axis=2)).mean(axis=(1, 2))
            return np.concatenate([stacked.mean(axis=(1, 2)), step], axis=1)

    plain = next(feature_blocks(feature_table(real, Edges(), tmp_path, size=48)))
    mixed = next(feature_blocks(feature_table(real, Edges(), tmp_path, size=48, shuffled=3)))
    np.testing.assert_allclose(plain[:, :3], mixed[:, :3], rtol=1e-5)
    assert (mixed[:, 3:] > 1.2 * plain[:, 3:]).mean() > 0.9


def test_draws_are_even_ordered_and_repeat(real, tmp_path):
    table = feature_table(real, Colours(), tmp_path, size=32, roles=("train", "val"))
    ids, features = drawn_features(table, "train", 9, seed=4)
    assert ids == sorted(ids)
    assert features.shape == (9, 6)
    assert drawn_features(table, "train", 9, seed=4)[0] == ids
    assert drawn_features(table, "train", 9, seed=5)[0] != ids
    everything, whole = drawn_features(table, None, 999, seed=0)
    assert len(everything) == len(whole) == 42
    np.testing.assert_array_equal(features, whole[[everything.index(i) for i in ids]])
    with pytest.raises(InputError, match="no sample of 'conditional'"):
        drawn_features(table, "conditional", 9, seed=0)
