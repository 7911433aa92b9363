"""Verdicts: a planted effect is found, none is found where there is none."""

import numpy as np
import pytest

from terraloom.learning.confusion import figures_of
from terraloom.verdict import (
    Bootstrap,
    Estimate,
    class_statements,
    false_alarm_rate,
    holm,
    rival_statements,
    sentence,
    spreads,
    word_of,
)

NAMES = ("water", "crop", "tree")


def matrices(accuracy, runs=3, places=12, seed=0, pixels=400, classes=3, spread=0.0):
    """Confusion "run place truth predicted" of labellers right at the given rate per class."""
    random = np.random.default_rng(seed)
    rates = np.broadcast_to(accuracy, (classes,))
    shares = random.dirichlet(np.full(classes, 4.0), size=places)
    found = np.zeros((runs, places, classes, classes), dtype=np.int64)
    for run in range(runs):
        shift = random.normal(0, spread)
        for place in range(places):
            for truth in range(classes):
                right = np.clip(rates[truth] + shift, 0, 1)
                chances = np.full(classes, (1 - right) / (classes - 1))
                chances[truth] = right
                count = round(pixels * shares[place, truth])
                found[run, place, truth] = random.multinomial(count, chances)
    return found


def bootstrap(draws=400, **arms):
    return Bootstrap(arms, draws=draws, seed=1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.04], [0.04]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.01, 0.01, 0.01, 0.01], [0.04, 0.04, 0.04, 0.04]),
        ([0.001, 0.5, 0.02], [0.003, 0.5, 0.04]),
        ([], []),
    ],
)
def test_holm_in_closed_form(given, expected):
    assert holm(given) == pytest.approx(expected)


def test_holm_keeps_order_and_never_lowers_a_value():
    values = np.random.default_rng(0).random(9)
    corrected = np.array(holm(values.tolist()))
    assert (corrected >= values - 1e-9).all()
    assert (corrected[np.argsort(values)] == np.sort(corrected)).all()
    assert corrected.max() <= 1


def test_the_words_follow_the_intervals():
    above, below, across = Estimate(2, 1, 3), Estimate(-2, -3, -1), Estimate(0, -1, 1)
    assert word_of([above]) == "helps"
    assert word_of([above, above]) == "helps"
    assert word_of([above, across]) == "no evidence"
    assert word_of([above, below]) == "hurts"
    assert word_of([across, across]) == "no evidence"
    assert word_of([Estimate(1, 0, 2)]) == "no evidence"


def test_observed_values_are_the_figures_of_the_summed_matrices():
    arm = matrices(0.7)
    observed = bootstrap(arm=arm).observed("arm")
    figures = figures_of(arm.sum(axis=1))
    for metric in ("f1", "iou", "precision", "recall"):
        np.testing.assert_array_equal(observed[metric], figures.macro(metric))
        np.testing.assert_array_equal(observed[f"{metric}/class"], getattr(figures, metric))
    np.testing.assert_array_equal(observed["accuracy"], figures.accuracy)


def test_a_draw_of_places_equals_the_figures_of_these_places():
    arm = matrices(0.7, runs=2, places=4)
    boot = bootstrap(draws=50, arm=arm)
    drawn = boot.drawn("arm")["iou"]
    for index in (0, 17, 49):
        places = boot._place_weights[0][index]
        assert places.sum() == 4
        summed = np.einsum("p,rpij->rij", places, arm)
        expected = (figures_of(summed).macro("iou") * boot._run_weights[0][index]).sum()
        assert drawn[index] == pytest.approx(expected)


def test_an_estimate_lies_within_its_interval():
    estimate = bootstrap(arm=matrices(0.7)).estimate("arm", "f1")
    assert estimate.low < estimate.mean < estimate.high
    assert estimate.to_json().keys() == {"mean", "low", "high"}


def test_a_planted_gain_is_found_and_a_planted_loss_too():
    boot = bootstrap(better=matrices(0.8), control=matrices(0.7, seed=5))
    gain, _ = boot.difference("better", "control", "f1")
    assert word_of([gain]) == "helps"
    assert gain.mean == pytest.approx(0.1, abs=0.02)
    loss, _ = boot.difference("control", "better", "f1")
    assert word_of([loss]) == "hurts"
    assert loss.mean == pytest.approx(-gain.mean)


def test_rivals_are_compared_in_every_pair_and_only_clear_ones_are_called_so():
    boot = bootstrap(
        unet=matrices(0.8), fpn=matrices(0.7, seed=5), pan=matrices(0.7, seed=6), draws=2000
    )
    rows = rival_statements(boot)
    assert {(row["better"], row["worse"]) for row in rows[:2]} == {("unet", "fpn"), ("unet", "pan")}
    assert [row["clear"] for row in rows] == [True, True, False]
    assert all(row["mean"] >= 0 and row["p_holm"] >= row["p"] for row in rows)
    # Three pairs: the clearest is corrected by three.
    assert rows[0]["p_holm"] == pytest.approx(3 * 2 / 2000)


def test_an_arm_against_itself_differs_by_nothing():
    arm = matrices(0.7)
    estimate, smallest = bootstrap(one=arm, two=arm.copy()).difference("one", "two", "f1")
    assert (estimate.mean, estimate.low, estimate.high, smallest) == (0, 0, 0, 0)
    assert word_of([estimate]) == "no evidence"


def test_differences_are_paired_by_place():
    # Hard and easy places: each arm alone is uncertain, their difference is not.
    hard, easy = matrices(0.4, places=6, seed=1), matrices(0.9, places=6, seed=2)
    control = np.concatenate([hard, easy], axis=1)
    better = np.concatenate(
        [matrices(0.45, places=6, seed=1), matrices(0.95, places=6, seed=2)], axis=1
    )
    boot = bootstrap(better=better, control=control)
    alone = boot.estimate("control", "f1")
    paired, _ = boot.difference("better", "control", "f1")
    assert paired.high - paired.low < (alone.high - alone.low) / 2
    assert word_of([paired]) == "helps"


def test_more_places_give_a_narrower_interval_and_a_smaller_detectable_effect():
    found = []
    for places in (4, 40):
        boot = bootstrap(
            one=matrices(0.7, places=places, seed=1), two=matrices(0.7, places=places, seed=2)
        )
        estimate, smallest = boot.difference("one", "two", "f1")
        found.append((estimate.high - estimate.low, smallest))
    assert found[1][0] < found[0][0]
    assert found[1][1] < found[0][1]


def test_the_detectable_effect_is_two_point_eight_standard_errors():
    boot = bootstrap(one=matrices(0.7, seed=1), two=matrices(0.72, seed=2))
    _, smallest = boot.difference("one", "two", "f1")
    drawn = boot.drawn("one")["f1"] - boot.drawn("two")["f1"]
    assert smallest == pytest.approx(2.8 * drawn.std())


def test_a_planted_gain_in_one_class_is_told_of_that_class_alone():
    boot = bootstrap(
        draws=1000,
        better=matrices((0.9, 0.7, 0.7), seed=1, places=20),
        control=matrices((0.6, 0.7, 0.7), seed=1, places=20),
    )
    rows = {row["class"]: row for row in class_statements(boot, "better", "control", NAMES)}
    assert rows["water"]["verdict"] == "helps"
    assert rows["water"]["p_holm"] >= rows["water"]["p"]
    back = {row["class"]: row for row in class_statements(boot, "control", "better", NAMES)}
    assert back["water"]["verdict"] == "hurts"


def test_a_class_absent_from_both_is_left_out_and_changes_nothing():
    full = {"one": matrices(0.8, seed=1), "two": matrices(0.7, seed=2)}
    padded = {k: np.pad(v, ((0, 0), (0, 0), (0, 1), (0, 1))) for k, v in full.items()}
    plain, wide = bootstrap(**full), bootstrap(**padded)
    assert plain.difference("one", "two", "f1") == wide.difference("one", "two", "f1")
    rows = class_statements(wide, "one", "two", (*NAMES, "shrub"))
    assert [row["class"] for row in rows] == list(NAMES)
    assert np.isnan(wide.observed("one")["f1/class"][:, 3]).all()


def test_draws_that_miss_a_rare_class_do_not_break_the_interval():
    arm = matrices(0.7, places=6)
    arm = np.pad(arm, ((0, 0), (0, 0), (0, 1), (0, 1)))
    arm[:, 0, 3, 3] = 9
    boot = bootstrap(arm=arm, other=arm.copy())
    assert np.isnan(boot.drawn("arm")["f1/class"][:, 3]).any()
    estimate = boot.estimate("arm", "f1")
    assert np.isfinite([estimate.mean, estimate.low, estimate.high]).all()


def test_two_halves_of_one_arm_are_told_to_differ_in_one_of_twenty_at_most():
    assert false_alarm_rate(matrices(0.7, places=20), seed=0, resamples=150, draws=200) <= 0.05


def test_independent_arms_without_a_difference_seldom_help():
    # Two labellers of one kind, made anew each time: runs differ as seeds do.
    alarms = 0
    for seed in range(100):
        boot = bootstrap(
            draws=200,
            one=matrices(0.7, places=10, seed=2 * seed, pixels=100),
            two=matrices(0.7, places=10, seed=2 * seed + 1, pixels=100),
        )
        alarms += word_of([boot.difference("one", "two", "f1")[0]]) == "helps"
    # Binomial with p = 0.05 exceeds 11 of 100 once in two hundred.
    assert alarms <= 11


def test_draws_follow_their_seed_and_are_shared_by_all_arms():
    arm = matrices(0.7)
    first, again = (Bootstrap({"a": arm, "b": arm}, draws=50, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.drawn("a")["f1"], again.drawn("b")["f1"])
    other = Bootstrap({"a": arm}, draws=50, seed=4)
    assert not np.array_equal(first.drawn("a")["f1"], other.drawn("a")["f1"])


def test_the_sentence_tells_points_interval_and_what_could_have_been_seen():
    gain = {"real": (Estimate(0.021, 0.005, 0.04), 0.03)}
    assert sentence("real+both", "helps", gain) == (
        "real+both helps: +2.1 points of macro F1 against real (95 % interval +0.5 to +4.0)."
    )
    none = {
        "real": (Estimate(0.01, -0.02, 0.04), 0.031),
        "real-strong": (Estimate(-0.01, -0.05, 0.02), 0.052),
    }
    text = sentence("synthetic", "no evidence", none)
    assert text.startswith("synthetic: no evidence that it helps or hurts: +1.0 points")
    assert "against real-strong (95 % interval -5.0 to +2.0)" in text
    assert text.endswith("would see an effect of about 5.2 points.")
    assert sentence("x", "hurts", gain).startswith("x hurts: ")


def test_with_folds_a_figure_is_the_mean_over_folds_and_draws_stay_within_them():
    one, two = matrices(0.6, runs=2, places=6), matrices(0.9, runs=2, places=9, seed=5)
    folded = Bootstrap([{"a": one}, {"a": two}], draws=300, seed=1)
    apart = [Bootstrap({"a": part}, draws=300, seed=1).estimate("a", "f1").mean
             for part in (one, two)]  # fmt: skip
    assert folded.estimate("a", "f1").mean == pytest.approx(np.mean(apart))
    # Draws across folds would mix places of 60 and of 90 %; within them the mean hardly moves.
    found = folded.estimate("a", "f1")
    mixed = Bootstrap({"a": np.concatenate([one, two], axis=1)}, draws=300, seed=1)
    wide = mixed.estimate("a", "f1")
    assert found.high - found.low < wide.high - wide.low


def test_a_class_that_one_fold_lacks_is_taken_from_the_others():
    one, two = matrices(0.6, runs=2, places=6), matrices(0.9, runs=2, places=6, seed=5)
    one[:, :, 2, :] = 0
    one[:, :, :, 2] = 0
    boot = Bootstrap([{"a": one, "b": one}, {"a": two, "b": two}], draws=50, seed=1)
    drawn = boot.drawn("a")["f1/class"][:, 2]
    alone = Bootstrap({"a": two}, draws=50, seed=1)
    assert not np.isnan(drawn).any()
    assert drawn.mean() == pytest.approx(alone.observed("a")["f1/class"][:, 2].mean(), abs=0.03)


def test_generator_seeds_that_differ_widen_the_interval():
    good, bad = matrices(0.9, runs=3, places=30), matrices(0.6, runs=3, places=30)
    arm = np.concatenate([good, bad])
    nested = Bootstrap({"a": arm}, draws=2000, seed=0, chains=[0, 0, 0, 1, 1, 1])
    flat = Bootstrap({"a": arm}, draws=2000, seed=0)
    wide, narrow = (b.estimate("a", "f1") for b in (nested, flat))
    assert wide.mean == pytest.approx(narrow.mean)
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


def test_weights_of_runs_in_generator_seeds_add_up_to_one():
    arm = matrices(0.7, runs=5, places=4)
    boot = Bootstrap({"a": arm}, draws=200, seed=0, chains=[0, 0, 1, 1, 1])
    weights = boot._run_weights[0]
    assert weights.sum(axis=1) == pytest.approx(np.ones(200))
    # In expectation a generator seed weighs the same, however many runs it has.
    assert weights[:, :2].sum(axis=1).mean() == pytest.approx(0.5, abs=0.06)


def test_spreads_tell_generator_and_segmenter_seeds_apart():
    found = spreads([1.0, 3.0, 11.0, 13.0], [0, 0, 1, 1])
    assert found["between"] == pytest.approx(np.std([2, 12], ddof=1))
    assert found["within"] == pytest.approx(np.sqrt(2))
    assert spreads([1.0, 2.0], [0, 0])["between"] is None
    assert spreads([1.0, 2.0], [0, 1])["within"] is None


def test_the_a_a_check_runs_over_folds_too():
    folds = [matrices(0.7, places=10), matrices(0.7, places=10, seed=3)]
    assert false_alarm_rate(folds, seed=0, resamples=100, draws=100) <= 0.06


def test_the_sentence_ends_on_the_digits_of_the_table():
    found = Estimate(-0.020498, -0.048, 0.016)
    told = sentence("synthetic", "no evidence", {"real": (found, 0.03)})
    assert f"{100 * found.to_json()['mean']:+.1f} points" in told
    assert "-2.1 points" in told
