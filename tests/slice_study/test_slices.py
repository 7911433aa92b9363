"""Slices of a pool: equal in number, different in what they hold, from nothing but the pool."""

import numpy as np
import pytest

from terraloom.errors import InputError
from terraloom.slice_study.slices import Pool, cut_slices, default_rows, overlap, read_pool
from terraloom.tables import Table

NAMES = ("water", "crop", "tree")


def pool_of(size=60, seed=0):
    random = np.random.default_rng(seed)
    shares = random.dirichlet([0.5] * 3, size)
    agreement = random.random(size)
    agreement[40:] = np.nan  # free samples were asked for no mask
    return Pool(
        tuple(f"s{i:03d}" for i in range(size)),
        tuple("spade conditional" if i < 40 else "flow unconditional" for i in range(size)),
        tuple(f"place-{i % 8}" if i < 40 else None for i in range(size)),
        tuple(bool(i % 2) for i in range(size)),
        shares,
        NAMES,
        {"agreement": agreement, "confidence": random.random(size), "flat": np.ones(size)},
    )


def test_slices_are_of_one_size_differ_and_cover_every_kind():
    pool = pool_of()
    slices = cut_slices(pool, 16, 10, seed=0)
    assert len(slices) == len({made.name for made in slices}) == len({m.ids for m in slices}) == 16
    assert {len(made.ids) for made in slices} == {10}
    assert {made.kind for made in slices} == {
        "arm", "origin", "class", "place", "score", "random",
    }  # fmt: skip
    for made in slices:
        assert list(made.ids) == sorted(set(made.ids))
        assert set(made.ids) <= set(pool.ids)
    assert 0 < overlap(slices) < 0.5


def test_each_kind_holds_what_it_says():
    pool = pool_of()
    where = {name: i for i, name in enumerate(pool.ids)}
    slices = {made.name: [where[i] for i in made.ids] for made in cut_slices(pool, 24, 10, seed=0)}
    assert all(pool.kept[i] for i in slices["arm-kept"])
    assert not any(pool.kept[i] for i in slices["arm-rejected"])
    assert all(i >= 40 for i in slices["origin-flow-unconditional"])
    tree = pool.shares[:, 2]
    assert tree[slices["class-2-tree"]].min() >= np.sort(tree)[-10]
    high, low = slices["score-agreement-highest"], slices["score-agreement-lowest"]
    agreement = pool.scores["agreement"]
    assert np.isfinite(agreement[high + low]).all()
    assert agreement[high].min() > agreement[low].max()
    groups = [{pool.places[i] for i in slices[f"place-{g}"]} for g in range(4)]
    assert not set.intersection(*groups)
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert not [name for name in slices if "flat" in name]


def test_slices_follow_the_seed_alone():
    pool = pool_of()
    assert cut_slices(pool, 12, 10, seed=1) == cut_slices(pool, 12, 10, seed=1)
    assert cut_slices(pool, 12, 10, seed=1) != cut_slices(pool, 12, 10, seed=2)
    # More slices leave the first ones as they are.
    assert cut_slices(pool, 12, 10, seed=1) == cut_slices(pool, 20, 10, seed=1)[:12]


@pytest.mark.parametrize(("count", "rows"), [(4, 40), (4, 2), (1, 10)])
def test_a_pool_too_small_for_slices_is_told(count, rows):
    with pytest.raises(InputError, match=r"of a pool of 60; there must be"):
        cut_slices(pool_of(), count, rows, seed=0)


def test_a_quarter_of_the_pool_is_the_default():
    assert default_rows(pool_of()) == 15


def test_the_pool_of_a_project_holds_every_sample_that_was_made(finished_project):
    synthetic = Table.open(finished_project / "label" / "samples")
    real = Table.open(finished_project / "build" / "samples")
    pool = read_pool(
        real, synthetic, Table.open(finished_project / "score" / "scores" / "synthetic"),
        Table.open(finished_project / "curate" / "verdicts"),
        ("tree", "shrub", "grass", "crop", "built-up", "barren", "water"),
    )  # fmt: skip
    assert list(pool.ids) == synthetic.read(["id"])["id"].to_pylist()
    assert set(pool.origins) == {"spade conditional", "flow conditional", "flow unconditional"}
    train = {r["place"] for r in real.read(["place", "split"]).to_pylist() if r["split"] == "train"}
    assert {place for place in pool.places if place is not None} <= train
    assert {"agreement", "nearest_train", "composition_error"} <= pool.scores.keys()
