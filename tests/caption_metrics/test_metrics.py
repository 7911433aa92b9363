"""What any implementation of the metrics must hold to, and what evaluate_captions refuses."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraloom.caption_metrics import METRICS, evaluate_captions, ngrams, tokenise
from terraloom.caption_metrics.alignment import align
from terraloom.caption_metrics.rouge import common_subsequence
from terraloom.classes import preset
from terraloom.errors import InputError

WORDS = ("tree", "trees", "water", "field", "fields", "the", "of", "north", "river", "wide")
sentences = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
groups = st.lists(sentences, min_size=1, max_size=4)
corpora = st.lists(st.tuples(sentences, groups), min_size=1, max_size=5)


def scored(corpus, **options):
    candidates = {f"{n:02}": row[0] for n, row in enumerate(corpus)}
    references = {f"{n:02}": row[1] for n, row in enumerate(corpus)}
    return evaluate_captions(candidates, references, **options)


def close(first, second):
    return all(math.isclose(first[m], second[m], rel_tol=1e-9, abs_tol=1e-12) for m in METRICS)


# ------------------------------------------------------------------------------------ by hand


def test_bleu_clips_repeats_and_punishes_brevity():
    # Papineni et al., section 2.1.1: seven "the" against two in the first reference.
    found = scored(
        [("the the the the the the the", ["the cat is on the mat", "there is a cat on the mat"])]
    )
    assert found.corpus["bleu1"] == pytest.approx(2 / 7)
    short = scored([("the cat", ["the cat sat there"])])
    assert short.corpus["bleu1"] == pytest.approx(math.exp(1 - 4 / 2))


def test_of_two_equally_close_reference_lengths_the_shorter_counts():
    found = scored([("a b c", ["a b c d", "a b"])])
    assert found.bleu.closest.tolist() == [2]
    assert found.corpus["bleu2"] == pytest.approx(1, abs=1e-6)


def test_bleu_of_a_corpus_is_of_summed_counts_not_a_mean():
    found = scored([("tree tree tree tree", ["tree tree tree tree"]), ("water", ["river"])])
    assert found.corpus["bleu1"] == pytest.approx(4 / 5)
    assert found.captions["bleu1"].mean() == pytest.approx(1 / 2)


def test_rouge_takes_best_precision_and_best_recall_over_references():
    # LCS 2 of 3 candidate words; against the short reference recall is 1.
    found = scored([("police kill gunman", ["police killed the gunman", "gunman"])])
    p, r, b = 2 / 3, 1.0, 1.2**2
    assert found.corpus["rouge_l"] == pytest.approx((1 + b) * p * r / (r + b * p))


def test_cider_by_hand_on_words_of_equal_rarity():
    # Two images, candidates equal to their only reference, no n-gram in common: every cosine is 1
    # for the orders that exist. "wide river" has n-grams of order 1 and 2 only.
    found = scored([("wide river", ["wide river"]), ("green field", ["green field"])])
    assert found.captions["cider_d"] == pytest.approx([5.0, 5.0])
    longer = scored([("a b c d", ["a b c d"]), ("e f g h i", ["e f g h i"])])
    assert longer.captions["cider_d"] == pytest.approx([10.0, 10.0])


def test_cider_of_a_single_image_is_nought():
    assert scored([("wide river", ["wide river"])]).corpus["cider_d"] == 0


def test_meteor_by_hand():
    # Content words count .75, function words .25; "trees" meets "tree" by stem at .6.
    # P = (.25 + .6 * .75) / (.25 + .75), R = (.25 + .45) / (.25 + .75 + .75); two words, one chunk.
    found = scored([("the trees", ["the tree stands"])])
    p, r = 0.7, 0.7 / 1.75
    mean = p * r / (0.85 * p + 0.15 * r)
    assert found.corpus["meteor"] == pytest.approx((1 - 0.6 * (1 / 2) ** 0.2) * mean)


def test_synonyms_of_the_class_table_are_matched_when_given():
    corpus = [("woodland", ["forest"])]
    groups = [("forest", "woodland", "tree cover")]
    assert scored(corpus).corpus["meteor"] == 0
    found = scored(corpus, synonyms=groups)
    assert found.corpus["meteor"] == pytest.approx(0.8)
    assert "1 groups of synonyms" in found.variants["meteor"]
    # Plurals go with their stem, words of two groups with neither.
    assert scored([("woodlands", ["forest"])], synonyms=groups).corpus["meteor"] > 0
    torn = [*groups, ("woodland", "park")]
    assert scored(corpus, synonyms=torn).corpus["meteor"] == 0
    table = preset("worldcover7")
    one_word = [c for c in table.classes if len({w for w in c.synonyms if " " not in w}) > 1]
    assert one_word
    pair = [w for w in one_word[0].synonyms if " " not in w][:2]
    assert scored([(pair[0], [pair[1]])], synonyms=table).corpus["meteor"] > 0


# ------------------------------------------------------------------------------------ properties


@given(corpora)
@settings(max_examples=60, deadline=None)
def test_a_caption_equal_to_a_reference_scores_full(corpus):
    corpus = [(row[1][-1], row[1]) for row in corpus]
    found = scored(corpus)
    assert found.captions["rouge_l"] == pytest.approx(1)
    assert found.captions["meteor"] == pytest.approx(1)
    words = found.bleu.length
    for order in range(1, 5):
        full = found.captions[f"bleu{order}"][words >= order]
        assert full == pytest.approx(1, abs=1e-6)


@given(corpora, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_of_references_and_of_images_does_not_matter(corpus, draw):
    first = scored(corpus)
    turned = [(c, draw.sample(group, len(group))) for c, group in corpus]
    assert close(first.corpus, scored(turned).corpus)
    for metric in METRICS:
        np.testing.assert_allclose(scored(turned).captions[metric], first.captions[metric])
    shuffled = draw.sample(corpus, len(corpus))
    assert close(first.corpus, scored(shuffled).corpus)


@given(corpora, sentences)
@settings(max_examples=60, deadline=None)
def test_another_reference_never_lowers_rouge_nor_a_caption_s_meteor(corpus, reference):
    more = [(c, [*group, reference]) for c, group in corpus]
    first, second = scored(corpus), scored(more)
    for metric in ("rouge_l", "meteor"):
        assert (second.captions[metric] >= first.captions[metric] - 1e-12).all()


@given(corpora)
@settings(max_examples=60, deadline=None)
def test_values_stay_in_their_range(corpus):
    found = scored([*corpus, ("", ["nothing is said"]), ("...", ["nothing either"])])
    for metric in METRICS:
        most = 10 if metric == "cider_d" else 1
        assert (found.captions[metric] >= 0).all()
        assert (found.captions[metric] <= most + 1e-9).all()
        assert found.captions[metric][-2:] == pytest.approx([0, 0], abs=0)


@given(corpora, st.data())
@settings(max_examples=40, deadline=None)
def test_a_draw_of_captions_is_scored_as_that_corpus(corpus, data):
    found = scored(corpus)
    places = st.lists(st.integers(0, len(corpus) - 1), min_size=1, max_size=6)
    rows = np.array(data.draw(places))
    drawn = found.corpus_of(rows)
    again = scored([corpus[row] for row in rows])
    # Document frequencies stay those of the whole corpus, so CIDEr-D is the mean of its values.
    for metric in (*METRICS[:4], "meteor", "rouge_l"):
        assert drawn[metric] == pytest.approx(again.corpus[metric], abs=1e-12)
    assert drawn["cider_d"] == pytest.approx(found.captions["cider_d"][rows].mean())


@pytest.mark.parametrize("block", [1, 3])
def test_blocks_of_images_change_nothing(block, monkeypatch):
    draw = random.Random(4)
    corpus = [
        (" ".join(draw.choices(WORDS, k=n % 9)), [" ".join(draw.choices(WORDS, k=7))] * (1 + n % 3))
        for n in range(20)
    ]
    whole = scored(corpus)
    monkeypatch.setattr(ngrams, "BLOCK", block)
    parts = scored(corpus)
    for metric in METRICS:
        np.testing.assert_array_equal(parts.captions[metric], whole.captions[metric])


def plain_subsequence(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            most = max(table[i - 1, j], table[i, j - 1])
            table[i, j] = table[i - 1, j - 1] + 1 if x == y else most
    return table[-1, -1]


@given(*[st.lists(st.integers(0, 3), max_size=80)] * 2)
@settings(max_examples=60, deadline=None)
def test_longest_common_subsequence_is_that_of_the_plain_table(a, b):
    assert common_subsequence(a, b) == plain_subsequence(a, b)


def all_alignments(a, b, start=0, used=frozenset()):
    if start == len(a):
        yield ()
        return
    yield from all_alignments(a, b, start + 1, used)
    for j in range(len(b)):
        if j not in used and a[start] == b[j]:
            for rest in all_alignments(a, b, start + 1, used | {j}):
                yield ((start, j), *rest)


@given(*[st.lists(st.integers(0, 2), max_size=6)] * 2)
@settings(max_examples=150, deadline=None)
def test_alignment_is_the_best_of_all_there_are(a, b):
    def rank(matches):
        pairs = set(matches)
        chunks = sum((i - 1, j - 1) not in pairs for i, j in matches)
        return -len(matches), chunks, sum(abs(i - j) for i, j in matches)

    matches, chunks = align(a, b, a, b)
    assert rank(matches) == min(map(rank, all_alignments(a, b)))
    assert chunks == rank(matches)[1]


def test_long_captions_of_one_word_end_soon():
    matches, chunks = align([7] * 60, [7] * 40, [7] * 60, [7] * 40)
    assert (len(matches), chunks) == (40, 1)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_tokens_hold_no_white_space_and_are_the_same_again(text):
    tokens = tokenise(text)
    assert tokens == tokenise(text)
    assert not any(token == "" or any(sign in " \t\n" for sign in token) for token in tokens)


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ({}, {}, "no caption to score"),
        ({"a": "x"}, {"a": ["x"], "b": ["y"]}, "1 of 2 images have no candidate.*'b'"),
        ({"a": "x", "b": "y"}, {"a": ["x"]}, "1 of 2 candidate captions have no references.*'b'"),
        ({"a": "x"}, {"a": []}, "'a' has an empty list of references"),
        ({"a": "x"}, {"a": ["tree", "..."]}, "reference 2 of image 'a' holds no word"),
        ({"a": "x"}, {"a": "tree"}, "references of image 'a' are str"),
        ({"a": None}, {"a": ["tree"]}, "candidate caption of image 'a' is NoneType"),
        ({"a": "x"}, {"a": [7]}, "reference caption of image 'a' is int"),
    ],
)
def test_what_cannot_be_scored_is_told(candidates, references, message):
    with pytest.raises(InputError, match=message):
        evaluate_captions(candidates, references)


def test_a_draw_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one caption"):
        scored([("tree", ["tree"])]).corpus_of(np.array([], dtype=np.int64))


def test_a_worse_caption_scores_worse_in_every_metric():
    draw = random.Random(1)
    texts = [" ".join(draw.choices(WORDS, k=9)) + f" place{n}" for n in range(20)]
    good = scored([(text, [text]) for text in texts])
    bad = scored([(texts[n - 1], [text]) for n, text in enumerate(texts)])
    for metric in METRICS:
        assert bad.corpus[metric] < 0.8 * good.corpus[metric]
