"""A study on a tiny project: val alone, cell by cell, and one page section that tells of it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from terraloom.cli import app
from terraloom.dataset.rows import train_rows
from terraloom.errors import InputError, StageMissing
from terraloom.files import read_json, sha256_of
from terraloom.report.reading import ProjectFiles
from terraloom.report.usefulness_section import usefulness_sections
from terraloom.settings import load_settings
from terraloom.slice_study import study
from terraloom.slice_study.study import StudyPlan, estimate_study, run_study
from terraloom.stages import Context
from terraloom.tables import Table

PLAN = StudyPlan(slices=6, seeds=2, rows=6, images=8)


@pytest.fixture(scope="module")
def context(finished_project):
    return Context(load_settings(finished_project), finished_project)


@pytest.fixture(scope="module")
def finished(context, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "which-score"
    return out, run_study(context, out, PLAN)


def test_every_slice_and_the_control_are_trained_once_per_seed(finished, context):
    out, found = finished
    cells = [read_json(path) for path in (out / "cells").glob("*/result.json")]
    assert len(cells) == (6 + 1) * 2
    assert {cell["images"] for cell in cells} == {8}
    real = len(train_rows(context.table("build", "samples")))
    assert {cell["rows"] for cell in cells} == {real, real + 6}
    assert found["design"]["rows"] == 6
    assert len(found["control"]) == 2
    for row in found["slices"]:
        first = read_json(out / "cells" / f"{row['name']}-1" / "result.json")
        assert row["gains"][1] == pytest.approx(first["val_f1"] - found["control"][1], abs=2e-5)
        assert row["gain"] == pytest.approx(np.mean(row["gains"]), abs=2e-5)


def test_all_scores_of_the_cards_and_of_the_slice_as_a_whole_are_there(finished):
    _, found = finished
    names = {finding["score"] for finding in found["ranking"]["findings"]}
    assert {
        "agreement", "confidence", "composition_error", "composition distance", "nearest_train",
        "nearest_synthetic", "contradictions", "frechet", "kernel", "precision", "coverage",
    } <= names  # fmt: skip
    better = {f["score"]: f["better"] for f in found["ranking"]["findings"]}
    assert better["frechet"] == better["nearest_train"] == better["composition distance"] == "lower"
    assert better["agreement"] == better["coverage"] == "higher"


def test_scores_of_a_slice_are_means_of_its_samples(finished, context):
    out, found = finished
    columns = ["id", "confidence", "agreement"]
    table = context.table("score", "scores", "synthetic").read(columns).to_pylist()
    rows = {row["id"]: row for row in table}
    ids = read_json(out / study.SLICES)
    assert set(ids) == {row["name"] for row in found["slices"]}
    for row in found["slices"]:
        for name in columns[1:]:
            values = [rows[i][name] for i in ids[row["name"]] if rows[i][name] is not None]
            mean = np.mean(values) if values else None
            assert row["scores"][name] == (None if mean is None else pytest.approx(mean, abs=1e-4))


def test_only_val_is_judged_and_test_is_never_read(finished, context):
    out, found = finished
    real = context.table("build", "samples").read(["id", "place", "split"]).to_pylist()
    places = {
        role: {r["place"] or r["id"] for r in real if r["split"] == role}
        for role in ("train", "val", "test")
    }
    for path in (out / "cells").glob("*/result.json"):
        assert set(read_json(path)["confusion"]) == places["val"]
    assert found["design"]["val_places"] == len(places["val"])
    assert not (out / "test-looks.jsonl").exists()
    features = [Table.open(path.parent) for path in (out / "features").glob("*/manifest.json")]
    groups = {g for table in features for g in table.read(["group"])["group"].to_pylist()}
    assert groups == {"train", "conditional", "unconditional"}


def test_the_project_itself_is_only_read(context, tmp_path):
    folder = context.project.folder
    before = {p: sha256_of(p) for p in folder.rglob("*") if p.is_file()}
    run_study(context, tmp_path / "out", StudyPlan(slices=2, seeds=1, rows=4, images=8))
    assert {p: sha256_of(p) for p in folder.rglob("*") if p.is_file()} == before


def test_a_killed_study_trains_what_is_missing_and_ends_with_the_same_bytes(
    context, finished, tmp_path, monkeypatch
):
    out, found = finished
    ours = tmp_path / "out"
    trained = []
    train = study.train_segmenter

    def fatal(*args, **kwargs):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(args[3].name)
        return train(*args, **kwargs)

    monkeypatch.setattr(study, "train_segmenter", fatal)
    with pytest.raises(KeyboardInterrupt):
        run_study(context, ours, PLAN)
    assert estimate_study(context, ours, PLAN).done == 3
    trained.clear()
    monkeypatch.setattr(
        study, "train_segmenter", lambda *a, **k: (trained.append(a[3].name), train(*a, **k))[1]
    )
    assert run_study(context, ours, PLAN) == found
    assert len(trained) == 14 - 3
    for name in (study.RESULT, study.TABLE):
        assert sha256_of(ours / name) == sha256_of(out / name)


def test_a_folder_of_another_design_is_refused(context, finished):
    out, _ = finished
    with pytest.raises(InputError, match=r"another design \(it differs in plan\.seeds\)"):
        run_study(context, out, StudyPlan(slices=6, seeds=3, rows=6, images=8))


def test_the_table_can_be_read_elsewhere(finished):
    import pandas as pd

    out, found = finished
    table = pd.read_csv(out / study.TABLE)
    assert list(table["slice"]) == [row["name"] for row in found["slices"]]
    assert {"gain_0", "gain_1", "frechet", "composition distance"} <= set(table.columns)


def test_a_project_without_scores_is_told(context, tmp_path):
    bare = Context(context.settings, tmp_path)
    with pytest.raises(StageMissing, match="holds no finished table"):
        run_study(bare, tmp_path / "out", PLAN)


@pytest.mark.parametrize("wrong", [{"slices": 1}, {"seeds": 0}, {"rows": 0}, {"images": 0}])
def test_numbers_that_make_no_sense_are_told(wrong):
    with pytest.raises(InputError, match="is too small; at least"):
        StudyPlan(**wrong)


def test_the_page_tells_of_a_study_and_of_none(finished, tmp_path):
    out, found = finished
    assert usefulness_sections(ProjectFiles(tmp_path)) == ()
    (section,) = usefulness_sections(ProjectFiles(out.parent))
    assert section.title == "Which score predicts use?"
    kinds = [block.kind for block in section.blocks]
    assert kinds == ["text", "table", "figure", "list", "table"]
    told = " ".join(section.blocks[3].items)
    assert "Test was not looked at" in told
    assert len(section.blocks[1].rows) == len(found["ranking"]["findings"])
    again = usefulness_sections(ProjectFiles(out.parent))[0]
    assert again.blocks[2].drawing == section.blocks[2].drawing


def test_the_command_estimates_runs_and_prints(finished_project, tmp_path):
    run = CliRunner().invoke
    asked = ["which-score", str(finished_project), "--slices", "4", "--seeds", "1", "--rows", "6",
             "--images", "8", "--out", str(tmp_path / "out")]  # fmt: skip
    dry = run(app, [*asked, "--dry-run", "--json"])
    assert json.loads(dry.stdout)["cells"] == 5
    assert not (tmp_path / "out").exists()
    done = run(app, asked)
    assert done.exit_code == 0
    assert "Scores and the gains of slices" in done.stdout
    assert "too small to say" in " ".join(done.stdout.split())
    again = run(app, [*asked, "--json"])
    assert json.loads(again.stdout)["design"]["slices"] == 4
