"""What captions give away, of samples whose captions are planted."""

import json

from terraloom.scorers.leak import LeakScorer, Settings


def test_counts_per_sample_and_probe_per_writer(corpus):
    scorer = LeakScorer(Settings(), 0)
    part = corpus.part("real", 0)
    values = scorer.score(part)
    assert values["captions_with_digits"] == [0.0] * len(part.rows)
    assert values["captions_stating_shares"] == [0.0] * len(part.rows)
    summary = scorer.summarise(corpus.whole({}, None))
    assert set(summary) == {"real", "synthetic"}
    real = summary["real"]["template"]
    # 12 train rows of 24 carry 3 captions each; val and test rows take no part.
    assert real["captions"] == 36
    assert real["with_digits"] == 0
    assert real["probe"]["groups"] == 6
    assert real["probe"]["r2"] > real["probe"]["r2_shuffled"]
    assert json.loads(json.dumps(summary)) == summary


def test_a_quoted_share_is_counted(corpus):
    from types import SimpleNamespace

    part = SimpleNamespace(
        rows=[{"shares": [0.5, 0.5]}, {"shares": None}],
        captions=[["50% trees", "3 roofs", "trees"], ["50% trees"]],
    )
    assert LeakScorer(Settings(), 0).score(part) == {
        "captions_with_digits": [2.0, 1.0],
        "captions_stating_shares": [1.0, 0.0],
    }
