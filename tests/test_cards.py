"""Score cards hold every sample; SQL asks them, touches nothing else, and makes subsets."""

import json

import pyarrow as pa
import pytest

from terraloom.cards import query, share_column, write_cards, write_subset
from terraloom.errors import DamagedTable, InputError, OutputError
from terraloom.files import read_json
from terraloom.tables import Table, plan_shards, write_table


def table(folder, rows):
    rows = pa.Table.from_pylist(rows)
    return write_table(
        folder, plan_shards(len(rows), 3), lambda s: rows.slice(s.start, s.stop - s.start),
        settings_sha256="0" * 64, inputs={}, description="a test",
    )  # fmt: skip


@pytest.fixture
def samples(tmp_path):
    rows = [
        {
            "id": f"s{i}", "origin": "conditional", "parent": f"r{i // 2}", "seed": i, "plan": None,
            "shares": [i / 10, 1 - i / 10], "image": b"x" * i,
        }
        for i in range(8)
    ]  # fmt: skip
    return table(tmp_path / "label" / "samples", rows)


@pytest.fixture
def cards(samples, tmp_path):
    ids = [f"s{i}" for i in range(8)]
    scores = table(tmp_path / "scores", [{"id": n, "agreement": i / 8} for i, n in enumerate(ids)])
    verdicts = table(
        tmp_path / "verdicts",
        [
            {"id": n, "keep": i > 3, "rule": None if i > 3 else "agreement ≥ 0.5",
             "reason": None if i > 3 else f"agreement is {i / 8}", "reviewer": "rules"}
            for i, n in enumerate(ids)
        ],
    )  # fmt: skip
    near = [{"id": n, "train_id": f"t{n}", "synthetic_id": None, "more": 1} for n in ids]
    return write_cards(
        samples, scores, verdicts, ("tree", "built-up"), tmp_path / "cards",
        table(tmp_path / "near", near),
    )  # fmt: skip


def test_every_sample_has_a_card_with_shares_scores_verdict_and_reason(cards):
    rows = cards.read().to_pylist()
    assert [row["id"] for row in rows] == [f"s{i}" for i in range(8)]
    assert rows[2] == {
        "id": "s2", "origin": "conditional", "parent": "r1", "seed": 2, "plan": None,
        "share_tree": pytest.approx(0.2), "share_built_up": pytest.approx(0.8), "agreement": 0.25,
        "train_id": "ts2", "synthetic_id": None,
        "keep": False, "rule": "agreement ≥ 0.5", "reason": "agreement is 0.25",
        "reviewer": "rules",
    }  # fmt: skip
    assert share_column("bare / sparse") == "share_bare_sparse"


def test_tables_of_other_samples_are_never_joined(samples, tmp_path):
    wrong = table(tmp_path / "wrong", [{"id": f"x{i}", "agreement": 0.5} for i in range(8)])
    with pytest.raises(DamagedTable, match="holds other samples than"):
        write_cards(samples, wrong, wrong, ("tree", "water"), tmp_path / "cards")


def test_sql_answers_and_groups(cards):
    answer = query(cards, "SELECT keep, count(*) AS n FROM cards GROUP BY keep ORDER BY keep")
    assert answer.to_pylist() == [{"keep": False, "n": 4}, {"keep": True, "n": 4}]
    answer = query(cards, "WITH best AS (SELECT * FROM cards) SELECT id FROM best WHERE seed > 6;")
    assert answer.to_pylist() == [{"id": "s7"}]


def test_a_query_reads_and_writes_nothing_but_the_cards(cards, tmp_path):
    target = tmp_path / "stolen.csv"
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for sql, message in (
        (f"SELECT * FROM read_csv('{secret}')", "cannot be answered: Permission Error"),
        (f"SELECT * FROM '{secret}'", "cannot be answered"),
        (f"COPY (SELECT id FROM cards) TO '{target}'", "or one that is no query"),
        ("SELECT 1; SELECT 2", r"found 2 statement"),
        ("DROP VIEW cards", "or one that is no query"),
        ("SET enable_external_access = true", "or one that is no query"),
        ("SELEKT id", "cannot be answered: Parser Error"),
        ("SELECT agrement FROM cards", r"The columns of cards are id, origin"),
    ):
        with pytest.raises(InputError, match=message):
            query(cards, sql)
    assert not target.exists()


def test_a_subset_is_a_sample_table_and_says_how_it_was_asked_for(cards, samples, tmp_path):
    sql = "SELECT id FROM cards WHERE keep AND share_tree < 0.65"
    made = write_subset(samples, query(cards, sql), sql, "few-trees", tmp_path)
    assert made.read(["id"])["id"].to_pylist() == ["s4", "s5", "s6"]
    assert Table.open(tmp_path / "subsets" / "few-trees" / "samples").num_rows == 3
    assert made.read(["image"])["image"].to_pylist() == [b"xxxx", b"xxxxx", b"xxxxxx"]
    record = read_json(tmp_path / "subsets" / "few-trees" / "subset.json")
    assert record == {"sql": sql, "samples": 3, "of": 8, "source": "label/samples"}
    with pytest.raises(OutputError, match="exists already"):
        write_subset(samples, query(cards, sql), sql, "few-trees", tmp_path)


def test_a_subset_without_ids_rows_or_a_plain_name_is_refused(cards, samples, tmp_path):
    for sql, name, message in (
        ("SELECT seed FROM cards", "a", "needs the column id"),
        ("SELECT id FROM cards WHERE seed > 99", "a", "names no sample"),
        ("SELECT id FROM cards", "../a", "must be letters"),
    ):
        with pytest.raises(InputError, match=message):
            write_subset(samples, query(cards, sql), sql, name, tmp_path)
    assert not (tmp_path / "subsets").exists()


def test_the_command_prints_answers_and_writes_subsets(cards, samples, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from terraloom.cli import app

    monkeypatch.chdir(tmp_path)
    (tmp_path / "curate").mkdir()
    cards.folder.rename(tmp_path / "curate" / "cards")
    (tmp_path / "terraloom.toml").write_text('[project]\nname = "t"\n')
    run = CliRunner().invoke
    asked = run(app, ["curate", "--json", "--sql", "SELECT id FROM cards WHERE seed < 2"])
    assert json.loads(asked.stdout) == [{"id": "s0"}, {"id": "s1"}]
    shown = run(app, ["curate", "--sql", "SELECT max(seed) AS most FROM cards"])
    assert "most" in shown.stdout
    assert "7" in shown.stdout
    sql = "SELECT id FROM cards WHERE keep"
    made = run(app, ["curate", "--json", "--sql", sql, "--subset", "kept"])
    assert json.loads(made.stdout) == {"subset": "kept", "samples": 4, "of": 8}
    refused = run(app, ["curate", "--subset", "kept"])
    assert isinstance(refused.exception, InputError)
