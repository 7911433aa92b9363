"""Retrieval as a scorer: fitted on train rows, told beside chance and shuffled controls."""

from dataclasses import replace

import pytest

from terraloom.files import read_json
from terraloom.scorers.retrieval import RetrievalScorer, Settings

QUICK = Settings(images=64, batch_size=8, checks=2)


def test_groups_are_val_test_and_origins_and_train_is_what_it_was_fitted_on(corpus, tmp_path):
    summary = RetrievalScorer(QUICK, 0).summarise(corpus.whole({}, tmp_path))
    assert set(summary["groups"]) == {"real val", "real test", "conditional", "unconditional"}
    assert summary["encoder"]["fitted_on"]["train_images"] == 12
    assert summary["encoder"]["fitted_on"]["train_captions"] == 36
    val = summary["groups"]["real val"]
    assert (val["images"], val["texts"]) == (8, 24)
    for direction in ("text_of_image", "image_of_text"):
        assert {"recall_1", "shuffled_1", "chance_1", "median_rank"} <= set(val[direction])
    assert read_json(tmp_path / "dual-encoder" / "state.json") == summary["encoder"]


def test_ranks_are_shares_and_do_not_change_with_what_is_fitted_again(corpus, tmp_path):
    part = replace(corpus.part("synthetic", 0), folder=tmp_path)
    first = RetrievalScorer(QUICK, 0).score(part)["caption_rank"]
    assert all(0 <= rank <= 1 for rank in first)
    assert RetrievalScorer(QUICK, 0).score(part)["caption_rank"] == first
    assert RetrievalScorer(QUICK, 1).score(part)["caption_rank"] != first


def test_only_real_rows_with_captions_of_train_are_read_for_the_fit(corpus, tmp_path, monkeypatch):
    from terraloom.scorers import retrieval

    seen = {}

    def spy(train, val, captions, *rest):
        seen.update(train=[r.id for r in train.rows], captions=set(captions))
        raise InterruptedError

    monkeypatch.setattr(retrieval, "fit_dual", spy)
    part = replace(corpus.part("real", 0), folder=tmp_path)
    with pytest.raises(InterruptedError):
        RetrievalScorer(QUICK, 0).score(part)
    roles = {r["id"]: r["split"] for r in corpus.real.read(["id", "split"]).to_pylist()}
    assert {roles[i] for i in seen["train"]} == {"train"}
    assert {roles[i] for i in seen["captions"]} == {"train", "val"}
