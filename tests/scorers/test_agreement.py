"""The labeller's figures reach the score table as they are; means leave empty ones out."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

from terraloom.scorers.agreement import AgreementScorer

ROWS = [
    {"agreement": 0.8, "confidence": 0.9, "unanimity": 1.0, "known_share": 1.0},
    {"agreement": 0.4, "confidence": 0.5, "unanimity": 0.5, "known_share": 0.5},
    {"agreement": None, "confidence": 0.7, "unanimity": 0.75, "known_share": 0.25},
]


def test_figures_are_carried_over_and_real_samples_have_none():
    part = SimpleNamespace(labels=[ROWS[0], ROWS[2], None])
    assert AgreementScorer().score(part) == {
        "agreement": [0.8, None, None],
        "confidence": [0.9, 0.7, None],
        "unanimity": [1.0, 0.75, None],
        "known_share": [1.0, 0.25, None],
    }


def test_the_summary_is_a_mean_per_origin():
    class Fake:
        def __init__(self, rows):
            self.rows = rows

        def read(self, columns):
            return pa.Table.from_pylist([{c: row[c] for c in columns} for row in self.rows])

    origins = [{"origin": o} for o in ("conditional", "conditional", "unconditional")]
    corpus = SimpleNamespace(synthetic=Fake(origins), labels=Fake(ROWS))
    summary = AgreementScorer().summarise(corpus)
    assert summary["conditional"] == {
        "samples": 2,
        "agreement": pytest.approx(0.6),
        "confidence": pytest.approx(0.7),
        "unanimity": pytest.approx(0.75),
        "known_share": pytest.approx(0.75),
    }
    assert summary["unconditional"]["agreement"] is None
    assert summary["unconditional"]["samples"] == 1
