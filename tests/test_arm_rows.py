"""Which rows an arm trains on: nested, matched in number, never of another role."""

import numpy as np
import pytest

from terraloom.arm_rows import ArmRows, Inputs, rows_by_arm
from terraloom.arms import arm_named
from terraloom.dataset.cache import RowCache
from terraloom.ensemble import Ensemble
from terraloom.errors import NothingLeft
from terraloom.labelling import label_samples
from terraloom.learning.device import make_fabric
from terraloom.relabelling import relabelled_rows
from terraloom.samples import Sample
from terraloom.settings import LabelSettings
from terraloom.testing import (
    colour_labeller,
    toy_classes,
    toy_pair,
    write_real,
    write_samples,
    write_synthetic,
)

FABRIC = make_fabric(1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    real = write_real(folder / "real")
    parents = real.read(["id"])["id"].to_pylist()[:8]
    made = write_synthetic(folder / "made", parents, conditional=24, unconditional=8)
    labeller = Ensemble((colour_labeller(FABRIC),))
    samples, _ = label_samples(
        made, labeller, folder / "label",
        classes=toy_classes(), settings=LabelSettings(), labeller_sha256="0" * 64,
    )  # fmt: skip
    ids = samples.read(["id"])["id"].to_pylist()
    extra = [
        Sample(f"behind-{i}", *toy_pair(500 + i), "real", split="train", place=f"behind-{i}")
        for i in range(3)
    ]

    def relabel(train, count, seed):
        return relabelled_rows(
            train, count, labeller=labeller, size=32, classes=toy_classes(),
            settings=LabelSettings(), seed=seed,
        )  # fmt: skip

    kept = frozenset(name for name in ids if "unconditional" in name or int(name[-3:]) < 8)
    return Inputs(real, samples, kept, None, write_samples(folder / "behind", extra), relabel)


def ids(inputs, name, seed=0):
    found = ArmRows(inputs, seed).of(arm_named(name))
    return found if isinstance(found, str) else [row.id for row in found.rows]


def test_a_ratio_is_met_in_rows_and_larger_ones_hold_smaller_ones(inputs):
    half, one = (set(ids(inputs, f"real+both@{r}x")) for r in (0.5, 1))
    assert len(half) == 8 + 4
    assert len(one) == 8 + 8
    assert half < one
    assert {name for name in one if not name.startswith("real")} <= inputs.kept


def test_a_ratio_that_the_pool_cannot_meet_is_told(inputs):
    told = ids(inputs, "real+both@3x")
    assert told.startswith("it needs 24 curated samples (3 per real row), and there are 16")


def test_a_share_takes_whole_places_and_what_was_made_from_them(inputs):
    real = ids(inputs, "real@50%")
    assert len(real) == 4
    joined = ids(inputs, "real+both@50%")
    assert joined[:4] == real
    light = {
        row["id"]: row["parent"] for row in inputs.synthetic.read(["id", "parent"]).to_pylist()
    }
    parents = {light[name] for name in joined[4:] if light[name] is not None}
    assert parents <= set(real)
    assert sum(light[name] is None for name in joined[4:]) == 4
    assert set(ids(inputs, "real@25%")) < set(real)


def test_a_random_draw_of_curated_size_keeps_the_mix_of_origins(inputs):
    drawn = [name for name in ids(inputs, "random-curated-size") if not name.startswith("real")]
    assert sum("unconditional" in name for name in drawn) == 8
    assert sum("toy-conditional" in name for name in drawn) == 8
    assert not set(drawn) <= inputs.kept


def test_more_real_adds_what_was_held_back(inputs):
    assert ids(inputs, "more-real")[-3:] == ["behind-0", "behind-1", "behind-2"]
    bare = Inputs(inputs.real, inputs.synthetic, inputs.kept)
    assert "set split.held_back_share" in ids(bare, "more-real")


def test_relabelled_rows_are_as_many_as_the_curated_and_never_show_the_real_mask(inputs):
    rows = ArmRows(inputs, 0).of(arm_named("relabel"))
    made = [row for row in rows.rows if row.id.startswith("relabelled")]
    assert len(made) == len(inputs.kept)
    labeller = colour_labeller(FABRIC)
    for row in made[:4]:
        assert row.image.shape == (32, 32, 3)
        known = row.mask != 255
        assert known.any()
        seen = labeller.labels([row.image])[0].numpy()
        assert np.array_equal(row.mask[known], seen[known])
        assert (row.trust[~known] == 0).all()


def test_relabelled_rows_follow_their_seed(inputs):
    one, again = (ArmRows(inputs, 4).of(arm_named("relabel")).rows for _ in range(2))
    other = ArmRows(inputs, 5).of(arm_named("relabel")).rows
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, again, strict=True))
    assert any(
        not np.array_equal(a.image, b.image) for a, b in zip(one[8:], other[8:], strict=True)
    )


def test_arms_without_rows_are_left_out_with_the_reason(inputs):
    bare = Inputs(inputs.real, inputs.synthetic, frozenset())
    arms = {name: arm_named(name) for name in ("real", "real+both", "relabel", "more-real")}
    rows, missing = rows_by_arm(bare, arms, 0)
    assert set(rows) == {"real"}
    assert "no synthetic row" in missing["real+both"]
    with pytest.raises(NothingLeft, match="no control arm left"):
        rows_by_arm(bare, {"real+both": arm_named("real+both")}, 0)


def test_mapped_rows_of_two_tables_of_one_stage_lie_side_by_side(inputs, tmp_path):
    cache = RowCache(tmp_path, "mapped")
    arm = arm_named("more-real")
    found = ArmRows(Inputs(inputs.real, inputs.synthetic, inputs.kept, cache,
                           inputs.held_back), 0).of(arm)  # fmt: skip
    assert [row.id for row in found.rows[-3:]] == ["behind-0", "behind-1", "behind-2"]
    assert len(list(tmp_path.glob("*/rows.bin"))) == 2


def test_mapped_relabelled_rows_are_made_anew_for_other_thresholds(inputs, tmp_path):
    train = ArmRows(inputs, 0).of(arm_named("real"))
    known = []
    for least in (0.0, 0.999999):
        rows = relabelled_rows(
            train, 6, labeller=Ensemble((colour_labeller(FABRIC),)), size=32,
            classes=toy_classes(), settings=LabelSettings(min_confidence=least), seed=0,
            labeller_sha256="1" * 64, cache=RowCache(tmp_path, "mapped"),
        )  # fmt: skip
        known.append(sum(int((row.mask != 255).sum()) for row in rows.rows))
    assert known[0] > known[1]
