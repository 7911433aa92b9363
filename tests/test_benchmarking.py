"""A tiny benchmark: equal budgets, one ledger of looks, no cell run twice."""

import numpy as np
import pytest

from terraloom import benchmarking
from terraloom.arm_rows import rows_by_arm
from terraloom.arms import ARMS
from terraloom.benchmarking import Inputs, judge, run_benchmark
from terraloom.ensemble import Ensemble
from terraloom.errors import RoleError
from terraloom.files import read_json, read_lines, sha256_of, write_json
from terraloom.labelling import label_samples
from terraloom.learning.confusion import figures_of
from terraloom.learning.device import make_fabric
from terraloom.ledger import looks_at_test
from terraloom.report.tables import architectures_table
from terraloom.settings import BenchmarkSettings, LabelSettings
from terraloom.testing import (
    colour_labeller,
    tiny_training,
    toy_classes,
    write_real,
    write_synthetic,
)

FABRIC = make_fabric(1)


def settings(*arms, **changes):
    budget = tiny_training(images=8, batch_size=4, checks=1)
    return BenchmarkSettings(
        **{"arms": arms, "seeds": 2, "draws": 200, "training": budget} | changes
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    real = write_real(folder / "real")
    made = write_synthetic(folder / "made", real.read(["id"])["id"].to_pylist()[:8])
    samples, _ = label_samples(
        made, Ensemble((colour_labeller(FABRIC),)), folder / "label",
        classes=toy_classes(), settings=LabelSettings(), labeller_sha256="0" * 64,
    )  # fmt: skip
    return Inputs(real, samples, frozenset(samples.read(["id"])["id"].to_pylist()))


def run(inputs, folder, chosen, seed=1):
    return run_benchmark(
        inputs, folder / "benchmark", classes=toy_classes(), settings=chosen, options={},
        ledger=folder / "looks.jsonl", controls=folder / "controls", seed=seed, fabric=FABRIC,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(inputs, folder, settings("real", "real+both"))


def test_every_arm_sees_the_same_number_of_images(finished):
    _, results = finished
    assert len(results["cells"]) == 4
    assert {cell["images"] for cell in results["cells"]} == {8}
    assert {(cell["arm"], cell["seed"]) for cell in results["cells"]} == {
        (arm, seed) for arm in ("real", "real+both") for seed in (0, 1)
    }
    assert results["rows"] == {"real": 8, "real+both": 18}


def test_cells_of_one_seed_start_from_the_same_weights_and_seeds_differ(finished):
    folder, _ = finished
    seeds = {
        path.parent.name: read_json(path)["seed"]
        for path in folder.glob("benchmark/cells/*/state.json")
    }
    assert seeds["unet-real-0"] == seeds["unet-real+both-0"]
    assert seeds["unet-real-1"] == seeds["unet-real+both-1"]
    assert seeds["unet-real-0"] != seeds["unet-real-1"]


def test_results_tell_design_table_and_a_verdict(finished):
    folder, results = finished
    assert results == read_json(folder / "benchmark" / "results.json")
    design = results["design"]
    assert design["test_places"] == 3
    assert design["segmenter_seeds"] == 2
    assert design["absent_classes"] == []
    assert [row["arm"] for row in results["table"]] == ["real", "real+both"]
    assert [v["arm"] for v in results["verdicts"]] == ["real+both"]
    assert results["verdicts"][0]["verdict"] in ("helps", "hurts", "no evidence")
    assert results["sentence"] == results["verdicts"][0]["sentence"]
    assert results["aa"]["arm"] == "real"


def test_all_known_test_pixels_are_counted_and_no_other(finished, inputs):
    from terraloom.dataset.rows import stream_rows

    folder, results = finished
    known = sum(
        int((row.mask != 255).sum()) for rows in stream_rows(inputs.real, "test") for row in rows
    )
    assert results["design"]["test_pixels"] == known
    for path in folder.glob("benchmark/cells/*/result.json"):
        confusion = read_json(path)["confusion"]
        assert set(confusion) == {"test-6", "test-7", "test-8"}
        assert sum(np.sum(m) for m in confusion.values()) == known


def test_each_look_at_test_is_in_the_ledger(finished):
    folder, results = finished
    rows = read_lines(folder / "looks.jsonl")
    assert {row["recipe_sha256"] for row in rows} == {results["recipe_sha256"]}
    assert sorted(row["cell"] for row in rows) == [
        "unet-real+both-0", "unet-real+both-1", "unet-real-0", "unet-real-1",
    ]  # fmt: skip
    assert looks_at_test(folder / "looks.jsonl") == {"recipes": 1, "cells": 4, "looks": 4}


class Killed(Exception):
    """Stands for kill -9."""


def test_a_look_that_was_cut_off_still_counts(inputs, tmp_path, monkeypatch):
    look = benchmarking.evaluate

    def fatal(trained, batches):
        assert len(read_lines(tmp_path / "looks.jsonl")) == 1  # before the look
        raise Killed

    monkeypatch.setattr(benchmarking, "evaluate", fatal)
    with pytest.raises(Killed):
        run(inputs, tmp_path, settings("real"))
    monkeypatch.setattr(benchmarking, "evaluate", look)
    run(inputs, tmp_path, settings("real"))
    assert looks_at_test(tmp_path / "looks.jsonl") == {"recipes": 1, "cells": 2, "looks": 3}


def test_finished_cells_are_not_run_again(inputs, tmp_path, monkeypatch):
    chosen = settings("real", "synthetic")
    results = run(inputs, tmp_path, chosen)
    digest = sha256_of(tmp_path / "benchmark" / "results.json")
    (tmp_path / "benchmark" / "results.json").unlink()
    (tmp_path / "benchmark" / "cells" / "unet-synthetic-1" / "result.json").unlink()
    trained = []
    train = benchmarking.train_segmenter

    def watched(*args, **kwargs):
        trained.append(args[3].name)
        return train(*args, **kwargs)

    monkeypatch.setattr(benchmarking, "train_segmenter", watched)
    again = run(inputs, tmp_path, chosen)
    assert trained == ["unet-synthetic-1"]
    assert again == results
    assert sha256_of(tmp_path / "benchmark" / "results.json") == digest


def test_samples_made_from_val_parents_are_refused(inputs, tmp_path):
    val = inputs.real.read(["id"])["id"].to_pylist()[8:10]
    leaky = write_synthetic(tmp_path / "leaky", val)
    everything = frozenset(leaky.read(["id"])["id"].to_pylist())
    with pytest.raises(RoleError, match="made from real-008, which is no train row"):
        run(Inputs(inputs.real, leaky, everything), tmp_path, settings("real", "synthetic"))
    assert not (tmp_path / "looks.jsonl").exists()


def test_an_arm_without_rows_is_left_out_and_said(inputs, tmp_path):
    bare = Inputs(inputs.real, inputs.synthetic, frozenset())
    results = run(bare, tmp_path, settings("real", "real+both", "synthetic"))
    assert results["missing_arms"] == ["real+both", "synthetic"]
    assert results["design"]["arms"] == ["real"]
    assert results["sentence"] == "No arm with synthetic rows was run, so there is no verdict."


def test_arms_hold_the_rows_that_they_name(inputs):
    ids = sorted(inputs.kept)
    kept = frozenset([ids[0], ids[1], ids[-1]])
    chosen = Inputs(inputs.real, inputs.synthetic, kept)
    rows, missing = rows_by_arm(chosen, ARMS, seed=0)
    assert set(missing) == {"relabel", "more-real"}
    names = {arm: [row.id for row in part.rows] for arm, part in rows.items()}
    real = [f"real-{i:03d}" for i in range(8)]
    assert names["real"] == names["real-strong"] == real
    assert names["synthetic"] == sorted(kept)
    assert names["real+conditional"] == [*real, ids[0], ids[1]]
    assert names["real+unconditional"] == [*real, ids[-1]]
    assert names["real+both"] == real + sorted(kept)
    # Unfiltered: as many as the curated, drawn from all.
    assert len(names["unfiltered"]) == 8 + 3
    assert set(names["unfiltered"][8:]) <= inputs.kept


def test_only_the_strong_arm_is_trained_with_strong_augmentation(inputs, tmp_path):
    run(inputs, tmp_path, settings("real", "real-strong"))
    augment = {
        path.parent.name: read_json(path)["recipe"]["training"]["augment"]
        for path in tmp_path.glob("benchmark/cells/*/state.json")
    }
    assert augment == {
        "unet-real-0": "none", "unet-real-1": "none",
        "unet-real-strong-0": "strong", "unet-real-strong-1": "strong",
    }  # fmt: skip


def cell(arm, seed, accuracy, architecture="unet"):
    """A finished cell whose labeller is right at one rate at each of four places."""
    random = np.random.default_rng([seed, int(100 * accuracy)])
    confusion = {}
    for place in range(4):
        right = (300 * (accuracy + random.normal(0, 0.005, size=2))).round().astype(int)
        confusion[f"p{place}"] = [[int(right[0]), 300 - int(right[0])],
                                  [300 - int(right[1]), int(right[1])]]  # fmt: skip
    return {
        "arm": arm, "architecture": architecture, "seed": seed, "rows": 1, "images": 8,
        "best_images": 8, "val_f1": 0.5, "confusion": confusion,
    }  # fmt: skip


def test_a_planted_gain_is_told_against_every_control():
    rates = {"real": 0.7, "real-strong": 0.75, "real+both": 0.9, "synthetic": 0.5}
    cells = [cell(arm, seed, rate) for arm, rate in rates.items() for seed in range(3)]
    chosen = settings("real", "real-strong", "synthetic", "real+both", seeds=3)
    results = judge(cells, ("water", "crop"), chosen, seed=0)
    words = {v["arm"]: v["verdict"] for v in results["verdicts"]}
    assert words == {"real+both": "helps", "synthetic": "hurts"}
    assert results["sentence"].startswith("real+both helps: ")
    assert {(d["arm"], d["control"]) for d in results["differences"]} == {
        (arm, control) for arm in words for control in ("real", "real-strong")
    }
    # Statements per class stand against the strongest control.
    assert {row["control"] for row in results["per_class"]} == {"real-strong"}


def test_the_table_holds_scikit_learns_figures():
    cells = [cell("real", s, 0.7) for s in range(2)]
    results = judge(cells, ("water", "crop"), settings("real"), seed=0)
    summed = [np.sum(list(c["confusion"].values()), axis=0) for c in cells]
    macro = [float(figures_of(m).macro("f1")) for m in summed]
    row = results["table"][0]
    assert row["f1_per_run"] == pytest.approx(macro, abs=1e-5)
    assert row["f1"]["mean"] == pytest.approx(np.mean(macro), abs=1e-5)


def test_several_architectures_are_judged_together_and_one_by_one():
    cells = [
        cell(arm, s, 0.8 if arm == "real+both" else 0.7, architecture)
        for arm in ("real", "real+both")
        for architecture in ("unet", "fpn")
        for s in range(2)
    ]
    chosen = settings("real", "real+both", architectures=("unet", "fpn"))
    results = judge(cells, ("water", "crop"), chosen, seed=0)
    assert [v["architecture"] for v in results["verdicts"]] == ["all", "unet", "fpn"]
    runs = {row["architecture"]: row["runs"] for row in results["table"]}
    assert runs == {"all": 4, "unet": 2, "fpn": 2}
    # Both were right equally often on the real rows.
    assert results["architectures"]["arm"] == "real"
    (pair,) = results["architectures"]["pairs"]
    assert (pair["mean"], pair["low"], pair["high"], pair["clear"]) == (0, 0, 0, False)


def test_the_better_of_two_architectures_is_named_with_its_lead():
    cells = [
        cell("real", s, rate, architecture)
        for architecture, rate in (("fpn", 0.6), ("unet", 0.7))
        for s in range(3)
    ]
    one = settings("real", architectures=("unet",))
    assert judge(cells[3:], ("water", "crop"), one, seed=0)["architectures"] is None
    both = settings("real", seeds=3, architectures=("fpn", "unet"))
    found = judge(cells, ("water", "crop"), both, seed=0)["architectures"]
    assert [(p["better"], p["worse"], p["clear"]) for p in found["pairs"]] == [
        ("unet", "fpn", True)
    ]
    shown = architectures_table(found)
    assert [cell.text for cell in shown.rows[0]][0::4] == ["unet − fpn", "better"]
    assert shown.rows[0][1].text.startswith("+1")


def test_a_stronger_control_of_an_earlier_recipe_joins_the_verdict(inputs, tmp_path):
    first = run(inputs, tmp_path, settings("real", "real+both"))
    stored = next((tmp_path / "controls").glob("*.json"))
    record = read_json(stored)
    # As if the control of an earlier recipe had been right everywhere.
    for kept in record["cells"]:
        kept["confusion"] = {
            place: np.diag(np.sum(matrix, axis=1)).tolist()
            for place, matrix in kept["confusion"].items()
        }
    write_json(tmp_path / "controls" / "earlier.json", record | {"recipe_sha256": "earlier"})
    again = run(inputs, tmp_path, settings("real", "real+both"))
    assert first["design"]["arms"] == ["real", "real+both"]
    assert again["design"]["arms"] == ["real", "real+both", "recorded:real"]
    assert again["verdicts"][0]["verdict"] == "hurts"
    assert "against recorded:real" in again["sentence"]
