"""Sanity floors: fitted on train alone, right, repeatable, and told where a network loses."""

import numpy as np
import pytest

from terraloom.dataset.rows import Row, TrainRows, ValRows, stream_rows, train_rows
from terraloom.errors import RoleError
from terraloom.files import read_json, read_lines, sha256_of, write_json
from terraloom.floors import floors_on_test, measure_floors, unbeaten
from terraloom.report.floors_section import floors_section
from terraloom.report.reading import ProjectFiles
from terraloom.testing import toy_classes, toy_rows, write_real

NAMES = toy_classes().names


def measured(train, judged, path, **options):
    return measure_floors(
        train, [list(judged.rows)], NAMES, path, **({"role": "val", "seed": 1} | options)
    )


def test_the_majority_floor_is_the_commonest_class_of_train_everywhere(tmp_path):
    train, val = toy_rows(8, 4)
    found = measured(train, val, tmp_path / "f.json", pixels=10**6)
    counts = sum(np.bincount(row.mask.ravel(), minlength=256) for row in train.rows)[:4]
    assert found["majority_class"] == NAMES[int(counts.argmax())]
    truth = np.concatenate([row.mask.ravel() for row in val.rows])
    truth = truth[truth != 255]
    share = float((truth == counts.argmax()).mean())
    entry = found["floors"]["majority"]
    assert entry["accuracy"] == pytest.approx(share, abs=1e-5)
    # One class of four has a figure above 0: F1 = 2 p / (1 + p) with precision p and recall 1.
    assert entry["f1"] == pytest.approx(2 * share / (1 + share) / 4, abs=1e-5)
    assert found["judged_pixels"] == len(truth)


def test_the_forest_tells_colours_apart_and_fails_where_there_are_none(tmp_path):
    train, val = toy_rows(8, 4)
    clear = measured(train, val, tmp_path / "clear.json")
    assert clear["floors"]["forest"]["accuracy"] > 0.97
    grey = ValRows(
        tuple(Row(r.id, r.place, np.full_like(r.image, 128), r.mask, None) for r in val.rows)
    )
    assert measured(train, grey, tmp_path / "grey.json")["floors"]["forest"]["accuracy"] < 0.6


def test_equal_seeds_give_equal_bytes_and_a_file_that_stands_is_read(tmp_path):
    train, val = toy_rows(8, 4)
    for name in "ab":
        measured(train, val, tmp_path / f"{name}.json", pixels=30)
    measured(train, val, tmp_path / "c.json", pixels=30, seed=2)
    digests = [sha256_of(tmp_path / f"{name}.json") for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    write_json(tmp_path / "a.json", {"kept": True})
    assert measured(train, val, tmp_path / "a.json") == {"kept": True}


def test_the_number_of_pixels_is_fixed_and_unknown_ones_are_never_drawn(tmp_path, monkeypatch):
    train, val = toy_rows(8, 4)
    assert measured(train, val, tmp_path / "few.json", pixels=80)["train_pixels"] == 80
    # More rows than pixels: one of each drawn row.
    many = TrainRows(train.rows * 20)
    assert measured(many, val, tmp_path / "many.json", pixels=50)["train_pixels"] == 50
    known = sum(int((row.mask != 255).sum()) for row in train.rows)
    found = measured(train, val, tmp_path / "all.json", pixels=10**6)
    assert found["train_pixels"] == known


def test_floors_are_fitted_on_train_rows_only(tmp_path):
    train, val = toy_rows(4, 2)
    for wrong in (val, train.rows):
        with pytest.raises(RoleError, match="fitted on TrainRows only"):
            measured(wrong, val, tmp_path / "f.json")


def test_test_rows_change_no_forest(tmp_path):
    table = write_real(tmp_path / "real")
    train = train_rows(table)
    one = measured(train, ValRows(next(iter(stream_rows(table, "test")))), tmp_path / "one.json")
    two = measured(train, toy_rows(4, 2)[1], tmp_path / "two.json")
    assert one["majority_class"] == two["majority_class"]
    assert one["train_pixels"] == two["train_pixels"]


def test_a_look_at_test_is_recorded_before_it_happens_and_once(tmp_path, monkeypatch):
    from terraloom import floors

    table = write_real(tmp_path / "real")
    ledger = tmp_path / "looks.jsonl"
    measure = floors.measure_floors

    def watched(*args, **options):
        assert [row["cell"] for row in read_lines(ledger)] == ["floors"]
        return measure(*args, **options)

    monkeypatch.setattr(floors, "measure_floors", watched)
    for _ in range(2):
        found = floors_on_test(
            table, NAMES, tmp_path / "f.json", ledger=ledger, recipe_sha256="0" * 64, seed=1
        )
    assert found["role"] == "test"
    assert found == read_json(tmp_path / "f.json")


def test_a_network_that_loses_is_named(tmp_path):
    train, val = toy_rows(8, 4)
    found = measured(train, val, tmp_path / "segment" / "floors.json")
    assert unbeaten(found, 0.5) == ["forest"]
    assert unbeaten(found, 0.0) == ["majority", "forest"]
    assert unbeaten(found, 1.01) == []
    state = tmp_path / "segment" / "labeller" / "state.json"
    for f1, told in (
        (0.5, "the labeller (50.0 %) does not beat forest, pixel by pixel"),
        (1.01, "every network beats both floors"),
    ):
        write_json(state, {"summary": {"best_val_f1": f1}})
        section = floors_section(ProjectFiles(tmp_path))
        assert told in section.blocks[-1].text
        assert section.blocks[-1].kind == "text"


def test_a_page_without_floors_says_so(tmp_path):
    (block,) = floors_section(ProjectFiles(tmp_path)).blocks
    assert "segment" in str(block)
