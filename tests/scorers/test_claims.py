"""Are captions true, and do they name what matters? By hand-made captions and shares."""

from types import SimpleNamespace

import pytest

from terraloom.claiming import claim_rows
from terraloom.claims import check_caption
from terraloom.files import read_json
from terraloom.scorers.claims import ClaimsScorer
from terraloom.tables import Table
from terraloom.testing import toy_classes

CLASSES = toy_classes()


def score(shares, *texts):
    rows = [
        row
        for index, text in enumerate(texts)
        for row in claim_rows("a", index, check_caption(text, shares, CLASSES))
    ]
    part = SimpleNamespace(rows=[{"shares": shares}], captions=[list(texts)], claims=[rows])
    return {name: column[0] for name, column in ClaimsScorer(CLASSES).score(part).items()}


def naming(shares, *texts):
    found = score(shares, *texts)
    return found["names_dominant"], found["clear_dominant"]


def test_the_share_of_captions_that_name_the_dominant_class():
    shares = [0.7, 0.2, 0.1, 0.0]
    assert naming(shares, "Open water.", "A tree stands here.") == (0.5, 1)
    assert naming(shares, "Water and crop.", "Mostly water.") == (1, 1)
    assert naming(shares, "A tree.", "Crop beside a tree.") == (0, 1)
    assert naming(shares, "A lake.", "A possible lake.") == (0.5, 1)


def test_a_denial_names_nothing():
    assert naming([0.7, 0.3, 0, 0], "There is no water here.") == (0, 1)


def test_a_narrow_lead_is_not_clear():
    assert naming([0.40, 0.36, 0.24, 0], "Water.")[1] == 0
    assert naming([0.42, 0.36, 0.22, 0], "Water.")[1] == 1


def test_a_small_largest_share_is_not_clear():
    assert naming([0.34, 0.22, 0.22, 0.22], "Water.") == (1, 0)


def test_precision_recall_and_contradictions_are_of_the_samples_captions():
    found = score([0.6, 0.3, 0.1, 0.0], "Water and crops.", "No water, only trees.")
    assert found["contradictions"] == 1
    # Supported: water, crops, trees. Contradicted: no water.
    assert found["claim_precision"] == pytest.approx(3 / 4)
    # Of water, crop and tree, the first caption names two, the second one.
    assert found["main_recall"] == pytest.approx(1 / 2)


def test_without_known_pixels_or_captions_there_is_nothing_to_say():
    assert set(score([0, 0, 0, 0], "Water.").values()) == {None}
    assert set(score([1, 0, 0, 0]).values()) == {None}


def test_captions_without_a_claim_have_no_precision_but_name_nothing():
    found = score([1, 0, 0, 0], "A fine day.")
    assert found["claim_precision"] is None
    assert found["names_dominant"] == found["main_recall"] == 0


def test_the_summary_counts_every_claim_of_the_table_once(corpus, tmp_path):
    from tests.scorers.test_members import run

    summary = run(corpus, tmp_path, ("claims",))["claims"]
    for kind in ("real", "synthetic"):
        table = Table.open(tmp_path / "claims" / kind)
        entry = summary[kind]
        assert table.num_rows > 0
        assert sum(sum(v.values()) for v in entry["claims"].values()) == table.num_rows
        (writer,) = entry["writers"]
        assert writer == "template"
        assert entry["captions"] == corpus.captions[kind].num_rows
        false = table.read(["verdict"])["verdict"].to_pylist().count("contradicted")
        assert entry["writers"][writer]["contradicted"] == false
    assert read_json(tmp_path / "columns.json")["main_recall"]["unit"] == "share"
