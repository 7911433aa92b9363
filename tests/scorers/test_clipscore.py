"""CLIPScore beside its controls, with a model whose scores are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from terraloom.imagetext.clip import EmbeddedTexts
from terraloom.scorers.clipscore import ClipScorer, Settings, _wins


class Known:
    """Sees the share of red, green, blue; reads the words red, green, blue."""

    name, context = "known", 5

    def images(self, images):
        means = np.stack([image.reshape(-1, 3).mean(axis=0) for image in images])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def texts(self, texts):
        rows = np.array([[w in t for w in ("crop", "tree", "water")] for t in texts], dtype=float)
        rows += 1e-3
        vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return EmbeddedTexts(vectors.astype(np.float32), tuple(len(t.split()) > 5 for t in texts))


@pytest.fixture
def scored(corpus, monkeypatch):
    scorer = ClipScorer(Settings(), corpus.classes, 0)
    monkeypatch.setattr(scorer, "_loaded", Known())
    part = corpus.part("real", 0)
    captions = [["crop here"], ["tree here now and for ever", "tree"], [], ["water"], ["nothing"]]
    part.__dict__["captions"] = captions
    return scorer, scorer.score(part), part


def test_scores_are_a_hundred_cosines_and_have_controls(scored):
    scorer, values, part = scored
    images = Known().images([image[..., :3] for image in _images(part)])
    texts = Known().texts(["crop here"]).vectors
    assert values["clip_score"][0] == pytest.approx(100 * float(images[0] @ texts[0]), abs=1e-3)
    assert values["clip_score"][2] is None
    assert values["clip_cut_texts"] == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert values["clip_hard_negative"][4] is None  # names neither class nor place
    assert values["clip_hard_negative"][0] is not None
    assert scorer.score(part) == values


def _images(part):
    import pyarrow.parquet as pq

    from terraloom.samples import decode_view

    packed = pq.read_table(part.samples_path, columns=["image"]).column("image").to_pylist()
    return [decode_view(value) for value in packed]


def test_the_summary_tells_model_controls_and_cut_texts(corpus, monkeypatch):
    scorer = ClipScorer(Settings(), corpus.classes, 0)
    monkeypatch.setattr(scorer, "_loaded", Known())

    def read(names):
        columns = {
            "clip_score": [30.0, 20.0, None, 10.0],
            "clip_shuffled": [20.0, 20.0, None, 15.0],
            "clip_hard_negative": [29.0, None, None, 5.0],
            "clip_cut_texts": [3.0, 0.0, 0.0, 0.0],
        }
        return SimpleNamespace(column=lambda name: SimpleNamespace(
            to_pylist=lambda: columns[name]))  # fmt: skip

    table = SimpleNamespace(num_rows=4, read=read)
    whole = SimpleNamespace(scores={"real": table}, captions={"real": SimpleNamespace(num_rows=12)})
    summary = scorer.summarise(whole)
    assert summary["model"] == "known"
    assert summary["context_tokens"] == 5
    real = summary["kinds"]["real"]
    assert real["samples"] == 3
    assert real["score"] == 20
    assert real["beats_shuffled"] == pytest.approx(0.5)
    assert real["beats_hard_negative"] == 1
    assert real["hard_negatives"] == 2
    assert real["cut_texts"] == 0.25


def test_wins_without_a_pair_are_none():
    assert _wins(np.array([np.nan]), np.array([1.0])) is None
