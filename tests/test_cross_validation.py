"""Folds by seeds on a tiny world: every place tested once per seed, nothing done twice."""

import shutil
import threading
from collections import Counter

import pytest

from terraloom.cross_validation import CrossValidation
from terraloom.errors import SettingsError
from terraloom.files import read_json, read_lines
from terraloom.ledger import looks_at_test
from terraloom.settings import load_settings
from terraloom.tables import Table
from terraloom.testing import tiny_project
from tests.image_to_text.toy import settings as captioner_settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    text = tiny_project()
    start, end = text.index("[generators.spade]"), text.index("[benchmark]")
    text = f"{text[:start]}[generators]\n\n{text[end:]}"
    text = text.replace("[benchmark]\nseeds = 2", '[benchmark]\nseeds = 1\narms = ["real"]')
    text += '\n[score]\nscorers = ["agreement"]\n\n[curate]\nrules = []\n'
    (folder / "terraloom.toml").write_text(text)
    return load_settings(folder)


@pytest.fixture(scope="module")
def both(settings):
    """With a captioning benchmark, as tiny."""
    return settings.model_copy(update={"caption_benchmark": captioner_settings("real")})


@pytest.fixture(scope="module")
def finished(both, tmp_path_factory):
    validation = CrossValidation(both, tmp_path_factory.mktemp("cross"), folds=2, seeds=2)
    return validation, validation.run()


def rows_of(chain):
    return Table.open(chain.folder / "build" / "samples").read(["id", "place", "split"]).to_pylist()


def splits_of(chain):
    return [row["split"] for row in rows_of(chain)]


def test_every_place_is_test_in_one_fold_of_each_seed(finished):
    validation, results = finished
    for seed in (0, 1):
        tested = Counter()
        for chain in validation.chains:
            if chain.seed == seed:
                rows = rows_of(chain)
                tested.update({row["place"] for row in rows if row["split"] == "test"})
        assert set(tested) == {row["place"] for row in rows_of(validation.chains[0])}
        assert set(tested.values()) == {1}
    assert results["design"]["test_places"] == len(tested)


def test_seeds_share_the_data_and_redraw_val(finished):
    validation, _ = finished
    first, again = (
        {row["id"]: row["split"] for row in rows_of(chain)}
        for chain in validation.chains
        if chain.fold == 0
    )
    assert set(first) == set(again)
    assert {k for k, v in first.items() if v == "test"} == {
        k for k, v in again.items() if v == "test"
    }
    inputs = [path.name for path in (validation.folder / "inputs").glob("world-*")]
    assert len(inputs) == 1
    assert not list(validation.folder.glob("chains/*/inputs"))


def test_results_tell_folds_seeds_and_spread(finished):
    _, results = finished
    design = results["design"]
    assert (design["folds"], design["generator_seeds"], design["segmenter_seeds"]) == (2, 2, 1)
    assert len(results["cells"]) == 4
    assert {(cell["fold"], cell["chain"]) for cell in results["cells"]} == {
        (0, 0), (0, 1), (1, 0), (1, 1),
    }  # fmt: skip
    row = results["table"][0]
    assert row["runs"] == 4
    assert row["f1_spread"]["within"] is None
    assert row["f1_spread"]["between"] >= 0
    assert len(design["absent_per_fold"]) == 2


def test_each_look_of_each_chain_is_in_the_joint_ledger_under_one_recipe(finished):
    validation, results = finished
    looks = looks_at_test(validation.folder / "test-looks.jsonl")
    assert looks["recipes"] == 1
    own = sum(len(read_lines(c.folder / "test-looks.jsonl")) for c in validation.chains)
    assert looks["looks"] == own
    recipe = read_json(validation.folder / "benchmark" / "recipe.json")
    assert recipe["sha256"] == results["recipe_sha256"]
    assert (validation.folder / "report" / "report.html").exists()


def test_captioners_of_all_chains_are_judged_together(finished):
    validation, results = finished
    joined = read_json(validation.folder / "benchmark-captions" / "results.json")
    assert joined["recipe_sha256"] == results["recipe_sha256"]
    assert joined["test_places"] == results["design"]["test_places"]
    assert (joined["design"]["folds"], joined["design"]["seeds"]) == (2, 2)
    row = joined["table"][0]
    assert (row["arm"], row["runs"]) == ("real", 2)
    tested = sum(split == "test" for c in validation.chains for split in splits_of(c))
    assert row["captions"] == tested * joined["design"]["captioner_seeds"]
    page = (validation.folder / "report" / "report.md").read_text()
    assert "2 folds make up a run" in page


def test_what_is_done_is_not_done_again_and_more_seeds_go_on_from_there(finished, both):
    validation, results = finished
    logs = {chain.name: (chain.folder / "log.jsonl").read_text() for chain in validation.chains}
    again = CrossValidation(both, validation.folder, folds=2, seeds=2)
    assert again.estimate()["left"] == 0
    assert again.run() == results
    assert logs == {
        chain.name: (chain.folder / "log.jsonl").read_text() for chain in validation.chains
    }
    more = CrossValidation(both, validation.folder, folds=2, seeds=3).estimate()
    assert (more["chains"], more["left"]) == (6, 2)
    assert more["seconds"] > 0


def test_captioners_that_are_turned_off_are_told_of_no_more(finished, settings, tmp_path):
    validation, results = finished
    folder = tmp_path / "cross"
    shutil.copytree(validation.folder, folder)
    assert CrossValidation(settings, folder, folds=2, seeds=2).run()["table"] == results["table"]
    assert not (folder / "benchmark-captions" / "results.json").exists()
    assert "Does the synthetic data help a captioner?" not in (
        folder / "report" / "report.md"
    ).read_text(encoding="utf-8")
    assert "Does the synthetic data help a captioner?" in (
        validation.folder / "report" / "report.md"
    ).read_text(encoding="utf-8")


def test_what_the_user_gave_is_hashed_once_for_all_chains(settings, tmp_path):
    validation = CrossValidation(settings, tmp_path, folds=2, seeds=2)
    assert len({id(chain.pipeline.context.source) for chain in validation.chains}) == 1


def test_a_chain_that_another_process_works_on_is_left_to_it(settings, tmp_path, monkeypatch):
    validation = CrossValidation(settings, tmp_path, folds=2, seeds=1)
    busy = validation.chains[0]
    order = []
    release = threading.Event()
    held = threading.Event()

    def hold():
        with busy.pipeline.context.project.locked():
            held.set()
            release.wait(60)

    worker = threading.Thread(target=hold)
    worker.start()
    held.wait(60)
    real = CrossValidation._run_chain

    def watched(self, chain):
        done = real(self, chain)
        order.append((chain.name, done))
        if chain is not busy:
            release.set()
            worker.join()
        return done

    monkeypatch.setattr(CrossValidation, "_run_chain", watched)
    validation.run()
    assert order == [("fold-0-seed-0", False), ("fold-1-seed-0", True), ("fold-0-seed-0", True)]


def test_too_few_folds_or_seeds_are_refused(settings, tmp_path):
    with pytest.raises(SettingsError, match="use 2 folds or more"):
        CrossValidation(settings, tmp_path, folds=1, seeds=3)
