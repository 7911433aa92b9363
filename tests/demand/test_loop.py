"""The loop on a tiny world: what it may see, what it leaves, and that it goes on after a kill."""

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from terraloom.cli import app
from terraloom.demand import acceptance, loop, options, validation
from terraloom.demand.folds import fold_scope, outside, train_folds
from terraloom.demand.loop import run_demand
from terraloom.demand.options import DemandOptions
from terraloom.errors import InputError, NothingLeft, RoleError, SettingsError
from terraloom.files import read_json, read_lines, sha256_of
from terraloom.pipeline import Pipeline
from terraloom.report.demand_section import demand_sections
from terraloom.report.reading import ProjectFiles
from terraloom.settings import load_settings
from terraloom.tables import MANIFEST, Table
from terraloom.testing import tiny_project, write_real, write_synthetic
from terraloom.verdict import Estimate

OPTIONS = DemandOptions(rounds=2, samples=10, folds=2, seeds=1, weak=2)


def always_gains(*_):
    return Estimate(0.02, 0.01, 0.03), 0.01


def never_gains(*_):
    return Estimate(0.0, -0.01, 0.01), 0.01


def pipeline(folder):
    return Pipeline(load_settings(folder), folder)


def new_project(folder, **changes):
    folder.mkdir()
    # One generator suffices.
    text = re.sub(r"\[generators\.flow\].*?\n\n", "", tiny_project(), flags=re.DOTALL)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "terraloom.toml").write_text(text, encoding="utf-8")
    return folder


def digests(folder):
    """Everything that a kill must not change."""
    found = {
        str(path.relative_to(folder)): sha256_of(path)
        for pattern in ("**/*.parquet", "**/*.json", "**/weights.safetensors")
        for path in (folder / "demand").glob(pattern)
    }
    assert sum(name.endswith(".parquet") for name in found) > 20
    return found


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A project whose labeller stands; copied by those that run a loop of their own."""
    folder = new_project(tmp_path_factory.mktemp("started") / "project")
    pipeline(folder).run(until="segment")
    return folder


@pytest.fixture(scope="module")
def finished(started, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(started, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "gain", always_gains)
        found = run_demand(pipeline(folder), OPTIONS)
    return folder, found


@pytest.fixture
def two_arms(monkeypatch):
    """A look of two arms, where the look is not the point."""
    monkeypatch.setattr(options, "ARMS", ("real", "real+both"))


def roles(folder):
    rows = Table.open(folder / "build" / "samples").read(["id", "split", "place"]).to_pylist()
    return {r["id"]: (r["split"], r["place"] or r["id"]) for r in rows}


def pools(folder):
    for path in sorted((folder / "demand").glob("round-*/*/label/samples")):
        yield path.parents[1].name, Table.open(path)


def test_every_round_tells_what_was_asked_made_and_accepted(finished):
    folder, found = finished
    assert found["stopped"] == "rounds"
    assert found["adopted"] == found["tested"] == [1, 2]
    assert [record["round"] for record in found["rounds"]] == [0, 1, 2]
    for record in found["rounds"][1:]:
        assert sum(entry["asked"] for entry in record["weak"]) == 10
        assert record["made"] == sum(entry["made"] for entry in record["weak"]) == 10
        assert record["accepted"] == sum(entry["accepted"] for entry in record["weak"])
        assert 0 < record["accepted"] <= 10
        own = folder / "demand" / f"round-{record['round']:02d}"
        assert read_json(own / "round.json") == record
        verdicts = Table.open(own / "whole" / "curate" / "verdicts").read(["keep"])
        assert sum(verdicts["keep"].to_pylist()) == record["accepted"]
    assert read_json(folder / "demand" / "demand.json") == found


def test_images_are_counted_and_equal_in_every_cell(finished):
    folder, found = finished
    # Two folds of labellers (32 images) and generators (8), and the whole's; 2 cells of 16.
    assert found["rounds"][0]["images"] == 3 * (32 + 8) + 2 * 16
    assert [r["images"] for r in found["rounds"][1:]] == [32, 32]
    assert found["rounds"][2]["images_total"] == 3 * 40 + 3 * 32
    cells = [read_json(p) for p in (folder / "demand").glob("round-*/cells/*/result.json")]
    assert len(cells) == 3 * 2
    assert {cell["images"] for cell in cells} == {16}


def test_every_train_place_is_judged_once_and_no_other(finished):
    folder, _ = finished
    train = {place for split, place in roles(folder).values() if split == "train"}
    for number in range(3):
        judged = [
            place
            for path in (folder / "demand" / f"round-{number:02d}").glob("cells/*/result.json")
            for place in read_json(path)["confusion"]
        ]
        assert sorted(judged) == sorted(train)


def test_plans_rest_on_train_rows_and_those_of_a_fold_on_other_places(finished):
    folder, _ = finished
    role, seen = roles(folder), set()
    held = {
        name: {
            place
            for split, place in role.values()
            if split == "train" and place not in places_of(folder, name)
        }
        for name in ("fold-0", "fold-1")
    }
    for name, table in pools(folder):
        seen.add(name)
        for row in table.read(["parent", "plan"]).to_pylist():
            split, place = role[row["parent"]]
            assert split == "train"
            assert place not in held.get(name, set())
            assert "toward" in row["plan"]
    assert seen == {"whole", "fold-0", "fold-1"}


def places_of(folder, fold):
    rows = Table.open(folder / "demand" / fold / "samples").read(["split", "id", "place"])
    return {r["place"] or r["id"] for r in rows.to_pylist() if r["split"] == "train"}


def test_a_fold_knows_neither_its_places_nor_test(finished):
    folder, _ = finished
    role = roles(folder)
    train = {place for split, place in role.values() if split == "train"}
    known = [places_of(folder, name) for name in ("fold-0", "fold-1")]
    assert known[0] | known[1] == train
    assert not known[0] & known[1]  # of two folds, each knows what the other leaves out
    for name in ("fold-0", "fold-1"):
        rows = Table.open(folder / "demand" / name / "samples").read(["id", "split"]).to_pylist()
        assert {row["split"] for row in rows} == {"train", "val"}
        state = read_json(folder / "demand" / name / "models" / "spade" / "state.json")
        assert state["train_rows"] == sum(row["split"] == "train" for row in rows)


def test_test_is_looked_at_once_with_the_arms_of_the_loop(finished):
    folder, found = finished
    looks = read_lines(folder / "test-looks.jsonl")
    assert {look["recipe_sha256"] for look in looks} == {found["look"]["recipe_sha256"]}
    assert len(looks) == 4 * 2
    accepted = sum(record["accepted"] for record in found["rounds"][1:])
    rows = found["look"]["rows"]
    assert list(rows) == ["real", "real-strong", "real+both", "random-curated-size"]
    assert rows["real+both"] == rows["random-curated-size"] == rows["real"] + accepted
    assert found["look"]["ledger"] == 1


def test_a_finished_loop_is_not_run_again(finished, monkeypatch):
    folder, found = finished
    before = digests(folder)
    monkeypatch.setattr(loop, "gain", always_gains)
    monkeypatch.setattr(validation, "train_segmenter", None)
    monkeypatch.setattr(acceptance, "synthesize", None)
    assert run_demand(pipeline(folder), OPTIONS) == found
    assert digests(folder) == before
    assert len(read_lines(folder / "test-looks.jsonl")) == 8


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.slow
def test_a_loop_killed_again_and_again_ends_with_the_same_bytes(
    finished, started, tmp_path, monkeypatch
):
    folder = tmp_path / "project"
    shutil.copytree(started, folder)
    monkeypatch.setattr(loop, "gain", always_gains)
    kills = 0

    def dies_after(module, name, times):
        """The call after so many dies, half done or done."""
        real, calls = getattr(module, name), []

        def fatal(*args, **kwargs):
            calls.append(name)
            if len(calls) > times:
                raise Killed
            return real(*args, **kwargs)

        return lambda: monkeypatch.setattr(module, name, fatal), lambda: monkeypatch.setattr(
            module, name, real
        )

    for module, name, times in (
        (validation, "train_segmenter", 1),
        (acceptance, "label_samples", 0),
        (acceptance, "curate_samples", 1),
        (validation, "write_json", 1),
        (loop, "run_benchmark", 0),
    ):
        arm, disarm = dies_after(module, name, times)
        arm()
        with pytest.raises(Killed):
            run_demand(pipeline(folder), OPTIONS)
        disarm()
        kills += 1
        assert not (folder / "demand" / "demand.json").exists()
    run_demand(pipeline(folder), OPTIONS)
    assert kills == 5
    assert digests(folder) == digests(finished[0])


@pytest.mark.slow
def test_a_loop_without_gain_ends_and_tests_what_was_accepted(
    started, tmp_path, monkeypatch, two_arms
):
    folder = tmp_path / "project"
    shutil.copytree(started, folder)
    monkeypatch.setattr(loop, "gain", never_gains)
    shared = DemandOptions(rounds=3, samples=6, folds=2, seeds=1, weak=1, shared=True)
    found = run_demand(pipeline(folder), shared)
    assert found["stopped"] == "no gain"
    assert found["adopted"] == []
    assert found["tested"] == [1]
    # Shared models: no fold has a chain of its own, and none is counted.
    assert not (folder / "demand" / "fold-0").exists()
    assert found["rounds"][0]["images"] == 40 + 2 * 16
    role = roles(folder)
    kept = [
        row["id"]
        for row in Table.open(folder / "demand/round-01/whole/curate/verdicts").read().to_pylist()
        if row["keep"]
    ]
    rows = {
        path.parent.name: read_json(path)["rows"]
        for path in (folder / "demand" / "round-01" / "cells").glob("*/result.json")
    }
    real = {
        path.parent.name: read_json(path)["rows"]
        for path in (folder / "demand" / "round-00" / "cells").glob("*/result.json")
    }
    train = sum(split == "train" for split, _ in role.values())
    assert sum(real.values()) == train
    # Of two folds, each sample's parent lies in one and joins the other.
    assert sum(rows.values()) - train == len(kept)


@pytest.mark.slow
def test_more_rounds_go_on_and_another_design_is_refused(finished, tmp_path, monkeypatch, two_arms):
    folder = tmp_path / "project"
    shutil.copytree(finished[0], folder)
    before = digests(folder)
    monkeypatch.setattr(loop, "gain", never_gains)
    fewer = DemandOptions(rounds=1, samples=10, folds=2, seeds=1, weak=2)
    assert run_demand(pipeline(folder), fewer)["stopped"] == "no gain"
    kept = {name for name in before if "/label/" in name or "/cells/" in name}
    assert all(digests(folder)[name] == before[name] for name in kept)
    with pytest.raises(InputError, match=r"another design \(it differs in --samples, --share\)"):
        run_demand(
            pipeline(folder),
            DemandOptions(rounds=2, samples=11, folds=2, seeds=1, weak=2, share=0.4),
        )
    path = folder / "terraloom.toml"
    path.write_text(path.read_text().replace("min = 0.01", "min = 0.02"))
    with pytest.raises(InputError, match=r"it differs in curate\)"):
        run_demand(pipeline(folder), OPTIONS)


@pytest.mark.slow
def test_a_budget_ends_the_loop_or_is_told_to_be_too_small(
    started, tmp_path, monkeypatch, two_arms
):
    folder = tmp_path / "project"
    shutil.copytree(started, folder)
    monkeypatch.setattr(loop, "gain", always_gains)
    asked = {"rounds": 3, "samples": 6, "folds": 2, "seeds": 1, "weak": 1, "shared": True}
    with pytest.raises(InputError, match=r"--images 100 does not suffice .* see 72 images"):
        run_demand(pipeline(folder), DemandOptions(**asked, images=100))
    assert not list((folder / "demand").glob("round-*"))
    found = run_demand(pipeline(folder), DemandOptions(**asked, images=72 + 32 + 31))
    assert found["stopped"] == "images"
    assert found["rounds"][-1]["round"] == 1
    assert found["rounds"][-1]["images_total"] == 72 + 32


def test_where_nothing_is_accepted_test_is_left_alone(tmp_path):
    folder = new_project(tmp_path / "project", **{"min = 0.01": "min = 1.01"})
    asked = DemandOptions(rounds=2, samples=6, folds=2, seeds=1, weak=1, shared=True)
    found = run_demand(pipeline(folder), asked)
    assert found["stopped"] == "nothing accepted"
    assert found["look"] is None
    assert found["rounds"][1]["accepted"] == 0
    assert not (folder / "test-looks.jsonl").exists()


def test_a_rule_that_names_no_column_is_told_before_anything_is_made(started, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(started, folder)
    path = folder / "terraloom.toml"
    path.write_text(path.read_text().replace('"confidence"', '"confidenze"'))
    with pytest.raises(SettingsError, match="'confidenze'; the scorers of this project make"):
        run_demand(pipeline(folder), OPTIONS)
    assert not list((folder / "demand").glob("round-*"))


def test_folds_share_no_place_and_refuse_rows_of_their_own(tmp_path):
    real = write_real(tmp_path / "real")
    folds = train_folds(real, 2, 0, None)
    assert not folds[0].places & folds[1].places
    assert folds[0].places | folds[1].places == {f"train-{i}" for i in range(4)}
    names = [row.id for fold in folds for row in fold.held.rows]
    assert sorted(names) == [f"real-{i:03d}" for i in range(8)]
    scope = fold_scope(real, folds[0], tmp_path, None)
    inside = sorted(row.id for row in folds[0].held.rows)
    made = write_synthetic(tmp_path / "made", [inside[0], folds[0].others[0].id])
    ids = made.read(["id"])["id"].to_pylist()
    assert outside(ids, made, real, folds[0]) == [
        name
        for name, parent in zip(ids, made.read(["parent"])["parent"].to_pylist(), strict=True)
        if parent != inside[0]
    ]
    from terraloom.dataset.rows import train_rows

    with pytest.raises(RoleError, match=f"made from {inside[0]}, which is no train row"):
        train_rows(made, real=scope.real)
    with pytest.raises(NothingLeft, match="--folds 9, but train has 4 places"):
        train_folds(real, 9, 0, None)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rounds": 0}, "--rounds 0 is too small"),
        ({"folds": 1}, "at least 2 is needed"),
        ({"share": 0.0}, "must lie above 0"),
        ({"share": 1.5}, "be 1 at most"),
    ],
)
def test_options_that_make_no_sense_are_told(wrong, told):
    with pytest.raises(InputError, match=told):
        DemandOptions(**wrong)


def test_the_command_estimates_and_prints_its_rounds(finished):
    folder, found = finished
    asked = ["demand", str(folder), "--rounds", "2", "--samples", "10", "--folds", "2",
             "--seeds", "1", "--weak", "2"]  # fmt: skip
    dry = CliRunner().invoke(app, [*asked, "--dry-run", "--json"])
    costs = json.loads(dry.stdout)
    assert costs["setup"] == found["rounds"][0]["images"]
    assert costs["round"] == 32
    assert costs["look"] == 4 * 2 * 16
    shown = CliRunner().invoke(app, [*asked, "--dry-run"])
    assert "one look at test, outside the budget" in " ".join(shown.stdout.split())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "gain", always_gains)
        done = CliRunner().invoke(app, asked, env={"COLUMNS": "160"})
        again = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0
    told = " ".join(done.stdout.split())
    assert "Rounds" in told
    assert found["look"]["sentence"] in told
    assert json.loads(again.stdout) == found


def test_the_report_shows_a_finished_loop(finished, tmp_path):
    folder, found = finished
    assert demand_sections(ProjectFiles(tmp_path)) == ()
    (section,) = demand_sections(ProjectFiles(folder))
    assert found["look"]["sentence"] in section.blocks[0].text
    assert [block.title for block in section.blocks[1:]] == [
        "Rounds",
        "F1 of weak classes within train, round by round",
        "One look at test",
    ]


def test_no_temporary_file_and_no_unfinished_table_is_left(finished):
    folder, _ = finished
    assert not [p for p in (folder / "demand").rglob("*") if p.name.endswith(".part")]
    for path in (folder / "demand").rglob("part-00000.parquet"):
        assert (path.parent / MANIFEST).exists()
    assert not list((folder / "demand").glob("round-*/cells/*/weights.safetensors"))
