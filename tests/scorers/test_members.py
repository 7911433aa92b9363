"""Every scorer: its columns, one value a sample, the same again, a summary that is plain JSON."""

import json
import math

import pytest

from terraloom import families
from terraloom.errors import SettingsError
from terraloom.files import read_json, sha256_of
from terraloom.scoring import score_samples

MEMBERS = families.members("scorers")
# UMAP compiles itself for most of a minute.
QUICK = {
    "embedding": {"methods": ("tsne",)},
    "retrieval": {"images": 64, "batch_size": 8, "checks": 2},
}


def build(name, corpus):
    module = families.member("scorers", name)
    options = QUICK.get(name, {}) | corpus.options.get(name, {})
    return module.build(module.Settings(**options), corpus.classes, 0)


def run(corpus, folder, names=MEMBERS):
    return score_samples(
        corpus.real, corpus.synthetic, corpus.labels, corpus.captions,
        {name: build(name, corpus) for name in names}, folder,
        classes=corpus.classes, segmenter=lambda: corpus.labeller,
        settings_sha256="0" * 64, seed=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scored(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    return folder, run(corpus, folder)


@pytest.mark.parametrize("name", MEMBERS)
def test_columns_are_named_with_unit_and_meaning(name, corpus):
    for column in build(name, corpus).columns:
        assert column.name.isidentifier()
        assert column.unit
        assert len(column.meaning.split()) > 3


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("kind", ["real", "synthetic"])
def test_each_sample_gets_one_value_per_column(name, kind, corpus):
    scorer = build(name, corpus)
    part = corpus.part(kind, 0)
    values = scorer.score(part)
    assert set(values) == {column.name for column in scorer.columns}
    for column in values.values():
        assert len(column) == len(part.rows)
        assert all(v is None or math.isfinite(v) for v in column)


@pytest.mark.parametrize("name", MEMBERS)
def test_scores_do_not_depend_on_which_shard_came_first(name, corpus):
    forward, backward = build(name, corpus), build(name, corpus)
    first = [forward.score(corpus.part("synthetic", i)) for i in (0, 1)]
    second = [backward.score(corpus.part("synthetic", i)) for i in (1, 0)][::-1]
    assert first == second


def test_columns_of_all_members_differ(corpus):
    names = [column.name for name in MEMBERS for column in build(name, corpus).columns]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_summary_is_plain_json(name, scored):
    _, summary = scored
    assert summary[name]
    assert json.loads(json.dumps(summary[name], allow_nan=False)) == summary[name]


def test_the_score_table_has_a_row_per_sample_and_a_description_of_each_column(scored, corpus):
    from terraloom.tables import Table

    folder, _ = scored
    columns = read_json(folder / "columns.json")
    for kind, samples in (("real", corpus.real), ("synthetic", corpus.synthetic)):
        table = Table.open(folder / "scores" / kind).read()
        assert table["id"].to_pylist() == samples.read(["id"])["id"].to_pylist()
        assert set(table.column_names) == {"id", *columns}


def test_scoring_again_gives_the_same_bytes(scored, corpus, tmp_path):
    folder, summary = scored
    assert run(corpus, tmp_path) == summary
    for name in ("summary.json", "scores/synthetic/part-00000.parquet", "embedding.parquet"):
        assert sha256_of(tmp_path / name) == sha256_of(folder / name), name


def test_a_summary_that_was_kept_is_not_taken_again(corpus, tmp_path, monkeypatch):
    from terraloom.scorers.embedding import EmbeddingScorer

    class Killed(Exception):
        pass

    def fatal(self, corpus):
        raise Killed

    real_summarise = EmbeddingScorer.summarise
    monkeypatch.setattr(EmbeddingScorer, "summarise", fatal)
    names = ("redundancy", "composition", "embedding")
    with pytest.raises(Killed):
        run(corpus, tmp_path, names)
    assert set(read_json(tmp_path / "summary.part.json")) == {"redundancy", "composition"}
    assert not (tmp_path / "summary.json").exists()
    monkeypatch.setattr(EmbeddingScorer, "summarise", real_summarise)
    summary = run(corpus, tmp_path, names)
    assert set(summary) == set(names)
    assert not (tmp_path / "summary.part.json").exists()


def test_two_scorers_with_one_column_are_refused(corpus, tmp_path):
    scorers = {"one": build("claims", corpus), "two": build("claims", corpus)}
    with pytest.raises(SettingsError, match=r"two scorers add one column; .*claim_precision"):
        score_samples(
            corpus.real, corpus.synthetic, corpus.labels, corpus.captions, scorers, tmp_path / "x",
            classes=corpus.classes, segmenter=lambda: corpus.labeller,
            settings_sha256="0" * 64, seed=1,
        )  # fmt: skip
    assert not (tmp_path / "x").exists()
