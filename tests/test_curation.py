"""Rules keep or reject with a reason; nothing is deleted; an unknown column is told."""

import pyarrow as pa
import pytest

from terraloom.curation import curate_samples, funnel_told, rule_name, verdict
from terraloom.errors import SettingsError
from terraloom.files import read_json
from terraloom.settings import CurateQuota, CurateRule, CurateSettings
from terraloom.tables import plan_shards, write_table
from terraloom.yardstick import ASKED, FREE, Yardstick

AGREEMENT = CurateRule(column="agreement", min=0.6)
NEAREST = CurateRule(column="nearest", min=0.1, max=2.5)


def judged(agreement, nearest=1.0):
    return verdict({"agreement": agreement, "nearest": nearest}, (AGREEMENT, NEAREST))


def test_a_sample_within_all_bounds_is_kept_without_a_reason():
    assert judged(0.8) == {"keep": True, "rule": None, "reason": None, "reviewer": "rules"}


def test_a_bound_itself_is_kept():
    assert judged(0.6, 0.1)["keep"]
    assert judged(0.6, 2.5)["keep"]


def test_the_first_rule_that_fails_is_named_with_the_value():
    assert judged(0.25, 9.0) == {
        "keep": False, "rule": "agreement ≥ 0.6", "reason": "agreement is 0.250",
        "reviewer": "rules",
    }  # fmt: skip
    assert judged(0.9, 9.0)["rule"] == "nearest ≥ 0.1 and nearest ≤ 2.5"
    assert judged(0.9, 0.01)["reason"] == "nearest is 0.010"


def test_an_empty_score_passes():
    assert judged(None, None)["keep"]
    assert not judged(None, 9.0)["keep"]


def test_without_rules_everything_is_kept():
    assert verdict({"agreement": 0.0}, ())["keep"]


def test_a_rule_is_told_in_signs():
    assert rule_name(AGREEMENT) == "agreement ≥ 0.6"
    assert rule_name(CurateRule(column="x", max=2)) == "x ≤ 2"


def test_a_rule_without_bounds_is_refused():
    with pytest.raises(ValueError, match="a rule needs min or max"):
        CurateRule(column="x")


LIKE_REAL = CurateRule(column="agreement", real_quantile=0.25)


def test_a_quantile_goes_with_what_real_images_have_and_without_a_min():
    assert rule_name(LIKE_REAL) == "agreement ≥ quantile 0.25 of real"
    with pytest.raises(ValueError, match="they have no 'nearest_train'; it goes with agreement"):
        CurateRule(column="nearest_train", real_quantile=0.25)
    with pytest.raises(KeyError, match="of real"):  # never passed in silence
        verdict({"agreement": 0.1}, (LIKE_REAL,))
    with pytest.raises(ValueError, match="takes min or real_quantile, not both"):
        CurateRule(column="agreement", min=0.5, real_quantile=0.25)


def table(folder, rows):
    rows = pa.Table.from_pylist(rows)
    return write_table(
        folder, plan_shards(len(rows), 2), lambda s: rows.slice(s.start, s.stop - s.start),
        settings_sha256="0" * 64, inputs={}, description="a test",
    )  # fmt: skip


@pytest.fixture
def tables(tmp_path):
    origins = ["conditional", "conditional", "conditional", "unconditional", "unconditional"]
    samples = [{"id": f"s{i}", "origin": origin} for i, origin in enumerate(origins)]
    scores = [
        {"id": f"s{i}", "agreement": a, "nearest": n}
        for i, (a, n) in enumerate([(0.9, 1.0), (0.2, 1.0), (0.7, 7.0), (None, 1.0), (None, 3.0)])
    ]
    return table(tmp_path / "samples", samples), table(tmp_path / "scores", scores)


def test_the_funnel_counts_made_rejected_and_kept_per_origin(tables, tmp_path):
    settings = CurateSettings(rules=(AGREEMENT, NEAREST))
    verdicts, funnel = curate_samples(*tables, tmp_path / "curate", settings)
    assert funnel == {
        "conditional": {
            "made": 3, "kept": 1,
            "rejected": {"agreement ≥ 0.6": 1, "nearest ≥ 0.1 and nearest ≤ 2.5": 1},
        },
        "unconditional": {
            "made": 2, "kept": 1,
            "rejected": {"agreement ≥ 0.6": 0, "nearest ≥ 0.1 and nearest ≤ 2.5": 1},
        },
    }  # fmt: skip
    assert read_json(tmp_path / "curate" / "funnel.json") == funnel
    rows = verdicts.read().to_pylist()
    assert [row["id"] for row in rows] == [f"s{i}" for i in range(5)]
    assert [row["keep"] for row in rows] == [True, False, False, True, False]
    assert tables[0].num_rows == 5


def test_where_nothing_is_kept_the_rule_that_most_fail_is_told():
    funnel = {
        "conditional": {"made": 9, "kept": 4, "rejected": {"a ≥ 1": 5, "b ≥ 1": 0}},
        "unconditional": {"made": 9, "kept": 0, "rejected": {"a ≥ 1": 2, "b ≥ 1": 7}},
        "joint": {"made": 0, "kept": 0, "rejected": {}},
    }
    some, none, empty = funnel_told(funnel)
    assert some == "conditional: 4 of 9 kept"
    assert none.startswith("unconditional: 0 of 9 kept; 7 fail b ≥ 1. Train the generators")
    assert empty == "joint: 0 of 0 kept"


@pytest.fixture
def shares(tmp_path):
    """Six samples: four of water, two of tree; one is rejected by a rule."""
    rows = [(0.9, 0.95), (0.9, 0.7), (0.8, 0.8), (0.6, 0.2), (0.2, 0.9), (0.4, 0.65)]
    samples = [
        {"id": f"s{i}", "origin": "conditional", "shares": [1 - water, water]}
        for i, (water, _) in enumerate(rows)
    ]
    scores = [{"id": f"s{i}", "agreement": a, "error": 1 - a} for i, (_, a) in enumerate(rows)]
    return table(tmp_path / "samples", samples), table(tmp_path / "scores", scores)


def test_a_quota_keeps_the_best_of_a_class_and_says_the_place_of_the_rest(shares, tmp_path):
    quota = CurateQuota(class_name="water", most=2)
    settings = CurateSettings(rules=(AGREEMENT,), quotas=(quota,))
    verdicts, funnel = curate_samples(*shares, tmp_path / "curate", settings, ("tree", "water"))
    rows = verdicts.read().to_pylist()
    assert [row["keep"] for row in rows] == [True, False, True, False, True, True]
    assert rows[1]["rule"] == "at most 2 of water, by agreement"
    # The fourth sample fell to the rule before the quota was counted.
    assert rows[1]["reason"] == "place 3 of 3"
    assert (rows[1]["reviewer"], rows[3]["reviewer"]) == ("quotas", "rules")
    assert funnel["conditional"] == {
        "made": 6, "kept": 4,
        "rejected": {"agreement ≥ 0.6": 1, "at most 2 of water, by agreement": 1},
    }  # fmt: skip


def test_a_quota_by_an_error_keeps_the_smallest_and_nought_keeps_none(shares, tmp_path):
    for most, kept in ((0, 2), (1, 3), (9, 6)):
        quota = CurateQuota(class_name="water", most=most, by="error", lowest_first=True)
        settings = CurateSettings(rules=(), quotas=(quota,))
        verdicts, _ = curate_samples(*shares, tmp_path / str(most), settings, ("tree", "water"))
        rows = verdicts.read().to_pylist()
        assert sum(row["keep"] for row in rows) == kept
        assert rows[0]["keep"] == (most > 0)  # the smallest error


def test_a_quota_for_what_is_not_there_is_refused(shares, tmp_path):
    for quota, message in (
        (CurateQuota(class_name="ice", most=1), "'ice'; there are: tree, water"),
        (CurateQuota(class_name="tree", most=1, by="agrees"), "quotas names the column 'agrees'"),
    ):
        settings = CurateSettings(rules=(), quotas=(quota,))
        with pytest.raises(SettingsError, match=message):
            curate_samples(*shares, tmp_path / "curate", settings, ("tree", "water"))


def test_a_rule_for_an_unknown_column_names_those_there_are(tables, tmp_path):
    settings = CurateSettings(rules=(CurateRule(column="agrement", min=0.5),))
    with pytest.raises(SettingsError, match="'agrement'; scores has agreement, nearest"):
        curate_samples(*tables, tmp_path / "curate", settings)
    assert not (tmp_path / "curate").exists()


def test_stricter_rules_never_keep_more(tables, tmp_path):
    kept = []
    for index, limit in enumerate((0.0, 0.3, 0.8, 0.95)):
        settings = CurateSettings(rules=(CurateRule(column="agreement", min=limit),))
        _, funnel = curate_samples(*tables, tmp_path / str(index), settings)
        kept.append(funnel["conditional"]["kept"])
    assert kept == [3, 2, 1, 0]


def test_real_images_set_the_bound_of_their_own_kind(tmp_path):
    rows = [(0.5, 0.9), (0.3, 0.9), (0.5, 0.5), (None, 0.3), (None, 0.1)]
    samples = [{"id": f"s{i}", "origin": "conditional"} for i in range(len(rows))]
    scores = [{"id": f"s{i}", "agreement": a, "known_share": k} for i, (a, k) in enumerate(rows)]
    tables = table(tmp_path / "samples", samples), table(tmp_path / "scores", scores)
    real = {
        ASKED: {"agreement": [0.2, 0.4, 0.6, 0.8, 1.0], "known_share": [0.8] * 5},
        FREE: {"known_share": [0.2] * 5},
    }
    rules = (LIKE_REAL, CurateRule(column="known_share", real_quantile=0.5))
    settings = CurateSettings(rules=rules)
    folder = tmp_path / "curate"
    verdicts, _ = curate_samples(*tables, folder, settings, yardstick=Yardstick(real))
    judged = verdicts.read().to_pylist()
    assert [row["keep"] for row in judged] == [True, False, False, True, False]
    assert judged[1]["rule"] == "agreement ≥ quantile 0.25 of real"
    assert judged[1]["reason"] == "agreement is 0.300, the bound by real images 0.400"
    assert judged[2]["reason"] == "known_share is 0.500, the bound by real images 0.800"
    assert judged[4]["reason"] == "known_share is 0.100, the bound by real images 0.200"
    assert read_json(folder / "bounds.json") == {
        "agreement ≥ quantile 0.25 of real": {"asked": 0.4},
        "known_share ≥ quantile 0.5 of real": {"asked": 0.8, "free": 0.2},
    }


def test_without_a_yardstick_nothing_is_compared_in_silence(tables, tmp_path):
    settings = CurateSettings(rules=(LIKE_REAL,))
    for known, told in ((None, "none were measured"), (Yardstick({ASKED: {"c": [1.0]}}), "are: c")):
        with pytest.raises(SettingsError, match=f"compares agreement with real images.*{told}"):
            curate_samples(*tables, tmp_path / "curate", settings, yardstick=known)


def test_quotas_count_what_the_quantiles_keep(shares, tmp_path):
    quota = CurateQuota(class_name="water", most=2)
    settings = CurateSettings(rules=(LIKE_REAL,), quotas=(quota,))
    real = Yardstick({ASKED: {"agreement": [0.6] * 4}})
    verdicts, _ = curate_samples(*shares, tmp_path / "c", settings, ("tree", "water"), real)
    rows = verdicts.read().to_pylist()
    assert [row["keep"] for row in rows] == [True, False, True, False, True, True]
    assert [row["reviewer"] for row in rows if not row["keep"]] == ["quotas", "rules"]
