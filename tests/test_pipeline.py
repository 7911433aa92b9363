"""The stages in order on a tiny world: records, resume, and what a change makes anew."""

import re
import shutil

import pytest

from terraloom.errors import InputError, StageMissing
from terraloom.files import read_json, read_lines, sha256_of, write_json
from terraloom.pipeline import Pipeline, read_results, stage_errors, stage_seconds
from terraloom.runs import Project
from terraloom.settings import load_settings
from terraloom.stages import STAGES, stage_named, stages_before
from terraloom.tables import Table
from terraloom.testing import tiny_project

NAMES = [stage.name for stage in STAGES]
TABLES = (
    "build/samples", "generate/samples", "label/samples", "label/labels", "caption/real",
    "caption/synthetic", "score/scores/real", "score/scores/synthetic", "curate/verdicts",
)  # fmt: skip


def pipeline(folder):
    return Pipeline(load_settings(folder), folder)


def change(folder, old, new):
    path = folder / "terraloom.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def runs_of(folder):
    """Stages that were run, in order, from the log."""
    return [row["stage"] for row in read_lines(folder / "log.jsonl")]


@pytest.fixture
def project(finished_project, tmp_path):
    """A copy of the finished project, its log emptied."""
    folder = tmp_path / "project"
    shutil.copytree(finished_project, folder)
    (folder / "log.jsonl").unlink()
    return folder


def test_every_stage_leaves_a_record_of_settings_inputs_and_versions(finished_project):
    records = {name: read_json(finished_project / name / "stage.json") for name in NAMES}
    for name, record in records.items():
        assert record["stage"] == name
        assert record["settings"]["seed"] == 0
        assert {"terraloom", "torch", "python", "numpy"} <= set(record["versions"])
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in record["outputs"].values())
    assert records["segment"]["settings"]["segment"]["training"]["images"] == 32
    assert records["build"]["settings"]["sources"]["world"]["height"] == 256
    for stage in STAGES:
        wanted = {
            f"{name}/{key}": digest
            for name in stage.needs
            for key, digest in records[name]["outputs"].items()
        }
        assert records[stage.name]["inputs"] == wanted


def test_all_tables_are_whole_and_their_rows_agree(finished_project):
    tables = {name: Table.open(finished_project / name) for name in TABLES}
    for table in tables.values():
        table.verify()
    ids = {name: table.read(["id"])["id"].to_pylist() for name, table in tables.items()}
    for name in ("label/samples", "label/labels", "score/scores/synthetic", "curate/verdicts"):
        assert ids[name] == ids["generate/samples"], name
    assert ids["score/scores/real"] == ids["build/samples"]
    assert len(ids["caption/real"]) == 5 * len(ids["build/samples"])


def test_synthetic_samples_descend_from_train_rows(finished_project):
    real = Table.open(finished_project / "build" / "samples").read(["id", "split"]).to_pylist()
    split = {row["id"]: row["split"] for row in real}
    made = Table.open(finished_project / "generate" / "samples").read(["parent", "origin"])
    for row in made.to_pylist():
        if row["origin"] == "conditional":
            assert split[row["parent"]] == "train"


def test_the_benchmark_judged_all_arms_and_its_looks_are_counted(finished_project):
    results = read_results(finished_project)
    assert [row["arm"] for row in results["table"]] == [
        "real", "real-strong", "synthetic", "real+both",
    ]  # fmt: skip
    assert {v["arm"] for v in results["verdicts"]} == {"synthetic", "real+both"}
    looks = [row["cell"] for row in read_lines(finished_project / "test-looks.jsonl")]
    assert len(looks) == 8 + 1
    assert looks[-1] == "floors"


def test_floors_stand_beside_the_networks_on_val_and_on_test(finished_project):
    for stage, role in (("segment", "val"), ("benchmark", "test")):
        found = read_json(finished_project / stage / "floors.json")
        assert found["role"] == role
        assert set(found["floors"]) == {"majority", "forest"}
    results = read_results(finished_project)
    assert found["judged_pixels"] == results["design"]["test_pixels"]
    page = (finished_project / "report" / "report.html").read_text(encoding="utf-8")
    assert "Floors and networks on test" in page


def test_captions_hold_no_digit(finished_project):
    for kind in ("real", "synthetic"):
        texts = Table.open(finished_project / "caption" / kind).read(["text"])["text"].to_pylist()
        assert not any(c.isdigit() for text in texts for c in text)


def test_the_report_is_one_page(finished_project):
    page = (finished_project / "report" / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not re.search(r'(?:src|href)="https?://[^"]+\.(?:js|css)"', page)


def test_no_temporary_file_is_left(finished_project):
    assert not [p for p in finished_project.rglob("*") if p.name.endswith(".part")]
    assert not list(finished_project.rglob("images-*"))


def test_a_second_run_does_nothing(project):
    digests = {p: sha256_of(p) for p in project.rglob("*") if p.is_file()}
    pipeline(project).run()
    assert runs_of(project) == []
    after = {p: sha256_of(p) for p in project.rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == {p: d for p, d in digests.items() if p.name != ".lock"}


@pytest.mark.parametrize(
    ("old", "new", "until", "again"),
    [
        ("min = 0.01", "min = 0.02", "curate", ["curate"]),
        ('name = "tiny"', 'name = "small"', "report", ["report"]),
        ('methods = ["tsne"]', "methods = []", "report", ["score", "curate", "report"]),
    ],
)
def test_a_changed_setting_makes_later_stages_anew_and_no_other(old, new, until, again, project):
    change(project, old, new)
    kept = {name: sha256_of(project / name / "stage.json") for name in NAMES if name not in again}
    pipeline(project).run(until=until)
    assert runs_of(project) == again
    for name, digest in kept.items():
        assert sha256_of(project / name / "stage.json") == digest


def test_stages_after_a_changed_one_are_due(project):
    change(project, "min = 0.01", "min = 0.02")
    pipeline(project).run(until="curate")
    states = {stage.name: pipeline(project).state(stage) for stage in STAGES}
    assert [name for name, state in states.items() if state == "would run"] == [
        "benchmark", "benchmark-captions", "report",
    ]  # fmt: skip


def test_a_changed_benchmark_is_run_anew_and_its_earlier_looks_stay_counted(project):
    change(project, "draws = 200", 'draws = 201\narms = ["real", "synthetic"]')
    pipeline(project).run(until="benchmark")
    assert runs_of(project) == ["benchmark"]
    assert len(read_lines(project / "test-looks.jsonl")) == (8 + 1) + (4 + 1)


@pytest.mark.parametrize("name", ["demand/demand.json", "which-score/which-score.json"])
def test_the_report_is_due_again_once_another_command_left_a_result(name, project):
    assert pipeline(project).state(stage_named("report")) == "done"
    write_json(project / name, {})
    assert pipeline(project).state(stage_named("report")) == "would run"
    assert pipeline(project).state(stage_named("benchmark")) == "done"


def test_one_stage_alone_needs_those_before_it(tmp_path):
    (tmp_path / "terraloom.toml").write_text(tiny_project())
    with pytest.raises(StageMissing, match=r"stage build is not done .*--until build"):
        pipeline(tmp_path).run(only="segment")
    pipeline(tmp_path).run(only="build")
    assert runs_of(tmp_path) == ["build"]
    pipeline(tmp_path).run(until="segment")
    assert runs_of(tmp_path) == ["build", "segment"]


def test_a_failed_stage_keeps_its_work_and_tells_why(project, monkeypatch):
    from terraloom import captioning

    def fail(*args, **kwargs):
        raise RuntimeError("the lamp went out")

    shutil.rmtree(project / "caption")
    monkeypatch.setattr(captioning, "caption_samples", fail)
    with pytest.raises(RuntimeError, match="lamp"):
        pipeline(project).run()
    assert stage_errors(Project(project)) == {"caption": "RuntimeError: the lamp went out"}
    assert stage_seconds(Project(project)) == {}
    monkeypatch.undo()
    pipeline(project).run()
    assert stage_errors(Project(project)) == {}


def test_wrong_input_leaves_nothing_of_its_stage(project):
    change(project, 'column = "confidence"', 'column = "confidenze"')
    with pytest.raises(InputError, match="confidenze"):
        pipeline(project).run()
    assert not (project / "curate").exists()


def test_a_lost_shard_of_an_unfinished_stage_comes_again_to_the_same_bytes(project):
    before = {n: Table.open(project / n).sha256 for n in TABLES}
    for name in ("caption/synthetic", "generate/samples"):
        stage = project / name.split("/", maxsplit=1)[0]
        (stage / "stage.json").unlink()
        (project / name / "manifest.json").unlink()
        (project / name / "part-00001.parquet").unlink()
    pipeline(project).run()
    assert runs_of(project) == ["generate", "caption"]
    assert {n: Table.open(project / n).sha256 for n in TABLES} == before


def test_a_project_without_synthetic_samples_still_reaches_its_report(tmp_path):
    text = tiny_project().replace("conditional_per_row = 1.0", "conditional_per_row = 0.0")
    assert text.count("per_row = 0.0") == 2
    text = text.replace("[benchmark]", '[benchmark]\narms = ["real", "synthetic"]')
    (tmp_path / "terraloom.toml").write_text(text)
    pipeline(tmp_path).run()
    results = read_results(tmp_path)
    assert results["missing_arms"] == ["synthetic"]
    assert "no verdict" in results["sentence"]
    assert (tmp_path / "report" / "report.html").exists()


def test_stages_are_found_by_name():
    assert stage_named("label").name == "label"
    assert stages_before("label") == ["build", "segment", "generate"]
    with pytest.raises(InputError, match="there is no stage 'lable'; there are: build, segment"):
        stage_named("lable")


def test_every_stage_needs_only_stages_before_it():
    for stage in STAGES:
        assert set(stage.needs) <= set(stages_before(stage.name))


def test_results_are_missed_by_name(tmp_path):
    with pytest.raises(StageMissing, match="holds no benchmark results; run: terraloom run"):
        read_results(tmp_path)
