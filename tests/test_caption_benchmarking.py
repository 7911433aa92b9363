"""A tiny captioning benchmark: equal budgets, one look each, claims before words in common."""

import numpy as np
import pytest

from terraloom import caption_benchmarking
from terraloom.caption_benchmarking import CaptionInputs, run_caption_benchmark
from terraloom.caption_floors import CEILING, CONSTANT, RANDOM
from terraloom.caption_statistics import FIGURES, figures_of_sums
from terraloom.claims import check_caption
from terraloom.ensemble import Ensemble
from terraloom.errors import NothingLeft, RoleError
from terraloom.facts import measure_facts
from terraloom.files import read_json, read_lines, sha256_of, write_json
from terraloom.image_to_text.words import split_words
from terraloom.labelling import label_samples
from terraloom.learning.device import make_fabric
from terraloom.samples import decode
from terraloom.settings import LabelSettings
from terraloom.tables import Table
from terraloom.testing import colour_labeller, toy_classes, write_real, write_synthetic
from tests.image_to_text.toy import caption_table, settings

FABRIC = make_fabric(1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    real = write_real(folder / "real")
    made = write_synthetic(folder / "made", real.read(["id"])["id"].to_pylist()[:8])
    samples, _ = label_samples(
        made, Ensemble((colour_labeller(FABRIC),)), folder / "label",
        classes=toy_classes(), settings=LabelSettings(), labeller_sha256="0" * 64,
    )  # fmt: skip
    return CaptionInputs(
        real, samples, frozenset(samples.read(["id"])["id"].to_pylist()),
        {"real": caption_table(real, folder / "told"),
         "synthetic": caption_table(samples, folder / "told-synthetic")},
    )  # fmt: skip


def run(inputs, folder, chosen, seed=1):
    return run_caption_benchmark(
        inputs, folder / "benchmark-captions", classes=toy_classes(), settings=chosen,
        ledger=folder / "looks.jsonl", controls=folder / "controls", seed=seed, fabric=FABRIC,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(inputs, folder, settings("real", "real+both"))


def cell_path(folder, name):
    return folder / "benchmark-captions" / "cells" / name


def test_every_arm_sees_as_many_images_at_as_many_checks(finished):
    folder, results = finished
    assert {(cell["arm"], cell["seed"]) for cell in results["cells"]} == {
        (arm, seed) for arm in ("real", "real+both") for seed in (0, 1)
    }
    assert {cell["images"] for cell in results["cells"]} == {16}
    histories = [
        [entry["images"] for entry in read_json(path)["summary"]["history"]]
        for path in folder.glob("benchmark-captions/cells/*/state.json")
    ]
    assert histories == [[8, 16]] * 4
    assert results["design"]["train_rows"] == {"real": 8, "real+both": 18}


def test_arms_of_one_seed_share_it_and_seeds_differ(finished):
    folder, _ = finished
    seeds = {
        path.parent.name: read_json(path)["seed"]
        for path in folder.glob("benchmark-captions/cells/*/state.json")
    }
    assert seeds["real-0"] == seeds["real+both-0"]
    assert seeds["real-0"] != seeds["real-1"]


def test_words_are_those_of_the_arms_own_train_rows(finished, inputs):
    folder, _ = finished
    roles = {r["id"]: r["split"] for r in inputs.real.read(["id", "split"]).to_pylist()}
    texts = inputs.captions["real"].read(["id", "text"]).to_pylist()

    def words(rows):
        return {word for row in rows for word in split_words(row["text"])}

    train = words([row for row in texts if roles[row["id"]] == "train"])
    others = words([row for row in texts if roles[row["id"]] != "train"])
    assert others - train  # else the test could not fail
    known = set(read_json(cell_path(folder, "real-0") / "words.json")["words"])
    assert known == train
    synthetic = words(inputs.captions["synthetic"].read(["text"]).to_pylist())
    both = set(read_json(cell_path(folder, "real+both-0") / "words.json")["words"])
    assert both == train | synthetic


def test_test_is_looked_at_once_per_cell_and_once_for_the_floors(finished):
    folder, results = finished
    rows = read_lines(folder / "looks.jsonl")
    assert sorted(row["cell"] for row in rows) == [
        "caption-floors", "captions-real+both-0", "captions-real+both-1", "captions-real-0",
        "captions-real-1",
    ]  # fmt: skip
    assert {row["recipe_sha256"] for row in rows} == {results["recipe_sha256"]}


def test_captions_and_claims_of_every_test_image_are_on_disk(finished, inputs):
    folder, _ = finished
    test = [r["id"] for r in inputs.real.read(["id", "split"]).to_pylist() if r["split"] == "test"]
    for path in folder.glob("benchmark-captions/cells/*"):
        captions = Table.open(path / "captions")
        captions.verify()
        rows = captions.read().to_pylist()
        assert [row["id"] for row in rows] == test
        assert {tuple(row["saw"]) for row in rows} == {("image",)}
        claims = Table.open(path / "claims")
        claims.verify()
        assert set(claims.read(["id"])["id"].to_pylist()) <= set(test)


def test_figures_are_those_of_the_checker_asked_caption_by_caption(finished, inputs):
    folder, _ = finished
    masks = {r["id"]: decode(r["mask"]) for r in inputs.real.read(["id", "mask"]).to_pylist()}
    # Cells of so few updates say little; the floor's captions are full of claims.
    for name in ("floors/random-0", "floors/reference", "cells/real+both-1"):
        rows = Table.open(folder / "benchmark-captions" / name / "captions").read().to_pylist()
        found = [
            check_caption(r["text"], measure_facts(masks[r["id"]], toy_classes(), compass=False),
                          toy_classes())
            for r in rows
        ]  # fmt: skip
        supported = sum(c.verdict == "supported" for f in found for c in f.claims)
        contradicted = sum(c.verdict == "contradicted" for f in found for c in f.claims)
        stored = figures_in(folder, name)
        assert stored["claims"] == pytest.approx((supported + contradicted) / len(rows))
        if supported + contradicted:
            assert stored["claim_precision"] == pytest.approx(
                supported / (supported + contradicted)
            )
        assert stored["main_recall"] == pytest.approx(np.mean([f.recall for f in found]))
        assert stored["names_dominant"] == pytest.approx(np.mean([f.names_dominant for f in found]))
        assert stored["contradicted"] == pytest.approx(np.mean([f.is_contradicted for f in found]))


def figures_in(folder, name):
    base = folder / "benchmark-captions"
    if name.startswith("cells/"):
        cell = read_json(base / name / "result.json")
    else:
        kind = {"random-0": (RANDOM, 0), "reference": (CEILING, 0)}[name.split("/")[1]]
        cell = next(
            c for c in read_json(base / "floors" / "result.json") if (c["arm"], c["seed"]) == kind
        )
    sums = np.sum(list(cell["places"].values()), axis=0)
    return {key: float(value) for key, value in figures_of_sums(sums).items()}


def test_the_table_holds_arms_floors_and_ceiling_in_reading_order(finished):
    _, results = finished
    kinds = {row["arm"]: row["kind"] for row in results["table"]}
    assert kinds == {
        "real": "control", "real+both": "arm", RANDOM: "floor", CONSTANT: "floor",
        CEILING: "ceiling",
    }  # fmt: skip
    row = results["table"][0]
    assert [key for key in row if key in FIGURES] == list(FIGURES)
    by_name = {row["arm"]: row for row in results["table"]}
    # The template tells no untruth, and one caption for all repeats itself.
    assert by_name[CEILING]["claim_precision"]["mean"] == 1
    assert by_name[CONSTANT]["redundancy"] == pytest.approx(5 / 6, abs=1e-4)
    assert {(v["arm"], v["figure"]) for v in results["verdicts"]} == {
        ("real+both", "claim_precision"), ("real+both", "cider_d"),
    }  # fmt: skip
    assert results["sentence"] == results["verdicts"][0]["sentence"]
    assert set(results["aa"]["rates"]) == {"claim_precision", "cider_d"}
    assert results["design"]["writers"]["real"] == {"template": ["layout"]}


class Killed(Exception):
    """Stands for kill -9."""


def test_killed_anywhere_it_goes_on_and_ends_with_the_same_bytes(
    finished, inputs, tmp_path, monkeypatch
):
    chosen = settings("real", "real+both")
    for name in ("claim_captions", "evaluate_captions", "train_captioner", "judge_captions"):
        whole = getattr(caption_benchmarking, name)
        calls = []

        def fatal(*args, whole=whole, calls=calls, **kwargs):
            calls.append(1)
            if len(calls) == 2 or whole.__name__ == "judge_captions":
                raise Killed
            return whole(*args, **kwargs)

        monkeypatch.setattr(caption_benchmarking, name, fatal)
        with pytest.raises(Killed):
            run(inputs, tmp_path, chosen)
        monkeypatch.setattr(caption_benchmarking, name, whole)
    results = run(inputs, tmp_path, chosen)
    assert results == finished[1]
    for path in sorted((finished[0] / "benchmark-captions").rglob("*")):
        if path.is_file() and path.suffix in (".json", ".parquet", ".safetensors"):
            twin = tmp_path / path.relative_to(finished[0])
            assert sha256_of(twin) == sha256_of(path), path


def test_a_look_that_was_cut_off_still_counts(inputs, tmp_path, monkeypatch):
    look = caption_benchmarking.write_table

    def fatal(*args, **kwargs):
        assert len(read_lines(tmp_path / "looks.jsonl")) == 1  # before the look
        raise Killed

    monkeypatch.setattr(caption_benchmarking, "write_table", fatal)
    with pytest.raises(Killed):
        run(inputs, tmp_path, settings("real"))
    monkeypatch.setattr(caption_benchmarking, "write_table", look)
    run(inputs, tmp_path, settings("real"))
    cells = [row["cell"] for row in read_lines(tmp_path / "looks.jsonl")]
    assert cells == ["captions-real-0", "captions-real-0", "captions-real-1", "caption-floors"]


def test_finished_cells_are_not_run_again(inputs, finished, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(caption_benchmarking, "train_captioner", never)
    before = len(read_lines(finished[0] / "looks.jsonl"))
    assert run(inputs, finished[0], settings("real", "real+both")) == finished[1]
    assert len(read_lines(finished[0] / "looks.jsonl")) == before


def test_an_arm_without_captioned_rows_is_left_out_and_said(inputs, tmp_path):
    bare = CaptionInputs(inputs.real, inputs.synthetic, frozenset(), inputs.captions)
    results = run(bare, tmp_path / "one", settings("real", "synthetic", "real+both"))
    assert results["missing_arms"] == ["synthetic", "real+both"]
    assert results["sentence"] == "No arm with synthetic rows was run, so there is no verdict."
    silent = caption_table(inputs.synthetic, tmp_path / "silent", lambda key, index: None)
    told = CaptionInputs(
        inputs.real, inputs.synthetic, inputs.kept, {**inputs.captions, "synthetic": silent}
    )
    results = run(told, tmp_path / "two", settings("real", "synthetic"))
    assert results["missing_arms"] == ["synthetic"]


def test_rows_whose_caption_could_not_be_had_are_counted(inputs, tmp_path):
    real = inputs.real.read(["id"])["id"].to_pylist()
    gone = {real[0], real[-1]}
    table = caption_table(
        inputs.real, tmp_path / "some",
        lambda key, index: None if key in gone else "" if index else "Water dominates.",
    )  # fmt: skip
    told = CaptionInputs(
        inputs.real, inputs.synthetic, inputs.kept, {**inputs.captions, "real": table}
    )
    design = run(told, tmp_path, settings("real"))["design"]
    assert design["rows_without_caption"] == {"real": 1}
    assert design["test_images"] == 5
    assert design["test_images_without_reference"] == 1
    assert design["references_per_image"] == [1, 1]


def test_a_benchmark_without_any_caption_says_what_to_run(inputs, tmp_path):
    silent = caption_table(inputs.real, tmp_path / "silent", lambda key, index: None)
    told = CaptionInputs(
        inputs.real, inputs.synthetic, inputs.kept, {**inputs.captions, "real": silent}
    )
    with pytest.raises(NothingLeft, match="terraloom caption"):
        run(told, tmp_path, settings("real", "synthetic"))


def test_samples_made_from_val_parents_are_refused(inputs, tmp_path):
    val = inputs.real.read(["id"])["id"].to_pylist()[8:10]
    leaky = write_synthetic(tmp_path / "leaky", val)
    everything = frozenset(leaky.read(["id"])["id"].to_pylist())
    captions = {**inputs.captions, "synthetic": caption_table(leaky, tmp_path / "told")}
    with pytest.raises(RoleError, match="made from real-008, which is no train row"):
        run(
            CaptionInputs(inputs.real, leaky, everything, captions), tmp_path,
            settings("real", "synthetic"),
        )  # fmt: skip
    assert not (tmp_path / "looks.jsonl").exists()


def test_hostile_captions_pass_through_to_the_end(inputs, tmp_path):
    hostile = ("<script>alert(1)</script> water", "\u202e \ud800 crops $(reboot) 50 %")
    table = caption_table(
        inputs.real, tmp_path / "hostile",
        lambda key, index: hostile[index].encode("utf-8", "replace").decode(),
    )  # fmt: skip
    told = CaptionInputs(
        inputs.real, inputs.synthetic, inputs.kept, {**inputs.captions, "real": table}
    )
    results = run(told, tmp_path, settings("real"))
    assert results["table"][0]["captions"] == 12


def test_only_the_strong_arm_is_trained_with_strong_augmentation(inputs, tmp_path):
    run(inputs, tmp_path, settings("real", "real-strong"))
    augment = {
        path.parent.name: read_json(path)["settings"]["training"]["augment"]
        for path in tmp_path.glob("benchmark-captions/cells/*/state.json")
    }
    assert augment == {
        "real-0": "paper", "real-1": "paper", "real-strong-0": "strong", "real-strong-1": "strong",
    }  # fmt: skip


def test_a_stronger_control_of_an_earlier_recipe_joins_the_verdict(inputs, tmp_path):
    run(inputs, tmp_path, settings("real", "real+both"))
    stored = next((tmp_path / "controls").glob("*.json"))
    record = read_json(stored)
    ceiling = [
        cell
        for cell in read_json(tmp_path / "benchmark-captions" / "floors" / "result.json")
        if cell["arm"] == CEILING
    ]
    for kept, right in zip(record["cells"], ceiling, strict=True):
        kept["places"] = right["places"]  # as if an earlier control had never erred
    write_json(tmp_path / "controls" / "earlier.json", record | {"recipe_sha256": "earlier"})
    again = run(inputs, tmp_path, settings("real", "real+both"))
    kinds = {row["arm"]: row["kind"] for row in again["table"]}
    assert kinds["recorded:real"] == "control"
    # A captioner of 16 images may claim nothing that could be checked; then CIDEr-D speaks.
    assert any("against recorded:real" in row["sentence"] for row in again["verdicts"])
