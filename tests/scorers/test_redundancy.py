"""Repeats within a sample and over the corpus, counted by hand."""

from types import SimpleNamespace

from terraloom.scorers.redundancy import RedundancyScorer


def test_repeats_within_a_sample_are_counted_after_folding_case_and_signs():
    part = SimpleNamespace(
        captions=[["A lake.", "a lake", "A field"], ["one", "two"], [], ["x", "x", "x"]]
    )
    assert RedundancyScorer().score(part) == {"repeated_captions": [1, 0, 0, 2]}


def summarise(**kinds):
    corpus = SimpleNamespace(
        captions=dict.fromkeys(kinds),
        written=lambda kind: (
            (row[0], row[2] if len(row) > 2 else "w", row[1]) for row in kinds[kind]
        ),
        seed=0,
    )
    return RedundancyScorer().summarise(corpus)


def test_the_corpus_is_told_by_kind_and_joined():
    summary = summarise(
        real=[("a", "lake"), ("a", "lake"), ("b", "field"), ("b", "wood")],
        synthetic=[("c", "Field!"), ("c", "2 roofs")],
    )
    assert summary["real"]["exact"] == 0.25
    assert summary["real"]["within_image"] == 0.25
    assert summary["synthetic"]["exact"] == 0
    assert summary["synthetic"]["with_digits"] == 1
    assert summary["all"]["captions"] == 6
    assert summary["all"]["unique"] == 5
    assert summary["all"]["exact"] == round(1 / 6, 6)
    assert summary["all"]["normalised"] == round(2 / 6, 6)
    assert summary["all"]["with_digits"] == 1


def test_corpora_of_different_sizes_are_compared_at_the_smaller_count():
    summary = summarise(
        real=[("a", f"text {i % 10}") for i in range(40)], synthetic=[("b", "x"), ("b", "y")]
    )
    assert summary["real"]["exact"] == 0.75
    assert summary["real"]["rarefied_count"] == 2
    assert summary["real"]["rarefied"] < 0.5
    assert summary["synthetic"]["rarefied"] == summary["synthetic"]["exact"] == 0


def test_a_kind_without_captions_is_left_out():
    assert set(summarise(real=[("a", "x")], synthetic=[])) == {"real", "all"}


def test_near_duplicates_and_writers_are_told():
    long = "trees cover most of the scene while water lies along the northern edge of it all here"
    summary = summarise(
        real=[("a", long, "x"), ("a", long + " now", "y"), ("b", "crops", "x"), ("c", "crops", "y")]
    )
    assert summary["real"]["near"] == 0.5
    assert summary["real"]["near_within_image"] == 0.25
    assert summary["real"]["exact"] == 0.25
    assert set(summary["real"]["writers"]) == {"x", "y"}
    assert summary["real"]["writers"]["x"]["near"] == 0
    assert summary["real"]["writers"]["x"]["captions"] == 2
