"""Grouped folds over all places, and train places that are held back from every stage."""

from pathlib import Path

import numpy as np
import pytest

from terraloom.classes import preset
from terraloom.dataset.build import HELD_BACK, build_dataset
from terraloom.dataset.split import Candidates, deal_folds, hold_back, split_candidates
from terraloom.errors import NothingLeft
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import world
from terraloom.tables import Table


def candidates(places: list[str], splits: list[str | None] | None = None) -> Candidates:
    count = len(places)
    shares = np.random.default_rng(1).dirichlet([1, 1, 0.2], count)
    return Candidates(
        tuple(f"id{i:04d}" for i in range(count)),
        tuple(places),
        tuple(splits or [None] * count),
        shares,
        np.full((count, 2), np.nan),
        np.zeros(count),
    )


NAMES = [f"p{i // 2:02d}" for i in range(60)]


def settings(fold: int = 0, folds: int = 5, **options: object) -> SplitSettings:
    return SplitSettings.model_validate(
        {"by": "place", "attempts": 16, "folds": folds, "fold": fold} | options
    )


def test_every_place_is_test_exactly_once_whatever_the_seed() -> None:
    given = candidates(NAMES)
    tested: list[str] = []
    for fold in range(5):
        folds = deal_folds(given, settings(fold))
        own = [
            {place for place, role in zip(split.places, split.roles, strict=True) if role == "test"}
            for split in (
                split_candidates(given, settings(fold), seed, folds=folds) for seed in (0, 7)
            )
        ]
        assert own[0] == own[1]
        tested += sorted(own[0])
    assert sorted(tested) == sorted(set(NAMES))


def test_seeds_redraw_val_within_a_fold_and_val_is_never_test() -> None:
    given = candidates(NAMES)
    folds = deal_folds(given, settings())
    vals = []
    for seed in range(4):
        split = split_candidates(given, settings(), seed, folds=folds)
        by_role = {
            role: {p for p, r in zip(split.places, split.roles, strict=True) if r == role}
            for role in ("train", "val", "test")
        }
        assert not by_role["val"] & by_role["test"]
        assert not by_role["train"] & (by_role["val"] | by_role["test"])
        vals.append(frozenset(by_role["val"]))
    assert len(set(vals)) > 1


def test_folds_share_out_a_class_evenly_and_their_seed_deals_anew() -> None:
    given = candidates(NAMES)
    folds = deal_folds(given, settings())
    of_row = np.array([folds[place] for place in NAMES])
    sizes = np.bincount(of_row, minlength=5)
    assert sizes.max() - sizes.min() <= 2
    rare = np.array([given.shares[of_row == fold, 2].sum() for fold in range(5)])
    assert rare.max() < 1.5 * rare.min()
    assert deal_folds(given, settings(fold_seed=1)) != folds


def test_what_the_index_says_of_roles_does_not_matter_with_folds() -> None:
    splits: list[str | None] = ["train" if i < 50 else "dev" for i in range(60)]
    given = candidates(NAMES, splits)
    folds = deal_folds(given, settings())
    split = split_candidates(given, settings(), 0, folds=folds)
    assert {role for role in split.roles[50:]} != {"test"}


def test_places_that_belong_together_stay_in_one_fold() -> None:
    given = candidates(NAMES)
    pairs = [("p00", "p29"), ("p29", "p10")]
    folds = deal_folds(given, settings(), pairs)
    assert folds["p00"] == folds["p29"] == folds["p10"]


def test_more_folds_than_places_are_refused() -> None:
    with pytest.raises(NothingLeft, match=r"split\.folds = 5, but there are 2 places"):
        deal_folds(candidates(["a", "b", "a"]), settings())


@pytest.mark.parametrize("options", [{"folds": 1}, {"folds": 3, "fold": 3}])
def test_a_fold_that_there_is_not_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="do not go together"):
        SplitSettings.model_validate(options)


def test_held_back_places_are_train_places_and_about_as_many_as_asked_for() -> None:
    given = candidates(NAMES)
    plain = SplitSettings(by="place", attempts=16, held_back_share=0.5)
    split = split_candidates(given, plain, 3)
    train = {p for p, r in zip(split.places, split.roles, strict=True) if r == "train"}
    held = hold_back(given, split, plain, 3)
    assert held < train
    assert abs(len(held) - len(train) / 2) <= 1
    assert hold_back(given, split, SplitSettings(by="place"), 3) == frozenset()


def test_held_back_rows_are_in_a_table_of_their_own(tmp_path: Path) -> None:
    classes = preset("worldcover7")
    source = world.build(world.Settings(height=256, width=256), classes, 0)
    split = SplitSettings(by="block", block_size_m=640, attempts=16, held_back_share=0.5)
    made = build_dataset(
        source, classes, tmp_path, cut=CutSettings(patch_size=64), split=split, seed=1
    )
    assert made.held_back is not None
    behind = Table.open(tmp_path / HELD_BACK).read(["id", "split", "place"]).to_pylist()
    rows = made.samples.read(["id", "split", "place"]).to_pylist()
    assert {row["split"] for row in behind} == {"train"}
    assert not {row["id"] for row in behind} & {row["id"] for row in rows}
    assert not {row["place"] for row in behind} & {row["place"] for row in rows}
    assert made.funnel["held back"] == len(behind) > 0
    assert made.funnel["kept"] == len(rows)
