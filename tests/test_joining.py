"""Runs of many chains in one table; a chain that keeps no sample counts as real rows alone."""

from terraloom.arms import arm_named
from terraloom.joining import ChainRuns, join_runs

NOTHING = "it has no synthetic row to train on"


def chain(number, arms, missing=()):
    cells = [
        {"arm": arm, "architecture": "unet", "fold": number, "chain": 0, "confusion": [number, arm]}
        for arm in arms
    ]
    rows = {arm: 100 + 10 * place for place, arm in enumerate(arms)}
    return ChainRuns(f"fold-{number}", cells, rows, dict.fromkeys(missing, NOTHING))


def confusions(joined):
    return {(cell["arm"], cell["fold"]): cell["confusion"] for cell in joined.cells}


def test_a_chain_that_kept_nothing_takes_over_the_runs_of_real():
    joined = join_runs([chain(0, ["real", "real+both"]), chain(1, ["real"], ["real+both"])])
    assert confusions(joined) == {
        ("real", 0): [0, "real"],
        ("real+both", 0): [0, "real+both"],
        ("real", 1): [1, "real"],
        ("real+both", 1): [1, "real"],
    }
    assert joined.real_alone == {"real+both": ["fold-1"]}
    assert joined.missing == {}
    assert joined.rows == {"real": 100, "real+both": 105}


def test_an_arm_that_no_chain_has_is_left_out():
    joined = join_runs([chain(n, ["real"], ["real+both"]) for n in (0, 1)])
    assert joined.missing == {"real+both": f"fold-1: {NOTHING}"}
    assert joined.rows == {"real": 100}
    assert joined.real_alone == {}
    assert set(confusions(joined)) == {("real", 0), ("real", 1)}


def test_an_arm_without_real_rows_is_left_out_of_all_chains_when_one_lacks_it():
    joined = join_runs([chain(0, ["real", "synthetic"]), chain(1, ["real"], ["synthetic"])])
    assert joined.missing == {"synthetic": f"fold-1: {NOTHING}"}
    assert set(confusions(joined)) == {("real", 0), ("real", 1)}
    assert joined.rows == {"real": 100}


def test_an_arm_that_one_chain_has_nothing_to_put_in_place_of_is_left_out_altogether():
    share, both = "real@25%", "real+both@25%"
    joined = join_runs(
        [
            chain(0, ["real", share, both]),
            chain(1, ["real", share], [both]),
            chain(2, ["real"], [both]),
        ]
    )
    assert list(joined.missing) == [both]
    assert joined.real_alone == {}


def test_a_ratio_that_was_promised_is_not_filled_up_with_nothing():
    name = "real+both@0.5x"
    joined = join_runs([chain(0, ["real", name]), chain(1, ["real"], [name])])
    assert list(joined.missing) == [name]


def test_a_share_of_the_places_takes_over_the_runs_of_that_share():
    share, both = "real@25%", "real+both@25%"
    joined = join_runs([chain(0, ["real", share, both]), chain(1, ["real", share], [both])])
    assert confusions(joined)[both, 1] == [1, share]
    joined = join_runs([chain(0, ["real", both]), chain(1, ["real"], [both])])
    assert list(joined.missing) == [both]


def test_what_arms_are_without_samples():
    assert arm_named("real+conditional").without_samples == "real"
    assert arm_named("relabel").without_samples == "real"
    assert arm_named("unfiltered@10%").without_samples == "real@10%"
    for name in ("real", "real-strong", "real@25%", "synthetic", "more-real"):
        assert arm_named(name).without_samples is None
