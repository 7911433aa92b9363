"""Tables of the scorers of text and image, from what those scorers write."""

from types import SimpleNamespace

from terraloom.report.sections import captions_section
from terraloom.report.text_tables import clip_table, leak_table, retrieval_table
from terraloom.testing import toy_classes

PROBED = {"r2": 0.91, "r2_shuffled": -0.05, "error": 0.031, "error_shuffled": 0.2,
          "error_mean": 0.19}  # fmt: skip
LEAK = {"real": {
    "template": {"captions": 400, "with_digits": 0.0, "stating_shares": 0.25,
                 "probe": {"r2": 0.88, "r2_shuffled": -0.02, "classes": {"water": PROBED}}},
    "other": {"captions": 5, "with_digits": 0.2, "stating_shares": 0.0, "probe": None},
}}  # fmt: skip
VALUES = {"recall": 0.5, "shuffled": 0.02, "chance": 0.01}
DIRECTION = {f"{what}_{k}": value for k in (1, 5, 10) for what, value in VALUES.items()}
RETRIEVAL = {
    "encoder": {"fitted_on": {"train_captions": 890, "train_images": 178}},
    "groups": {"real val": {"images": 51, "texts": 255,
                            "text_of_image": DIRECTION | {"median_rank": 3.0},
                            "image_of_text": DIRECTION | {"median_rank": 2.5}}},
}  # fmt: skip
CLIP = {"model": "transformers mine", "context_tokens": 77, "kinds": {"real": {
    "samples": 10, "score": 29.66, "shuffled": 28.1, "hard_negative": None, "beats_shuffled": 0.8,
    "beats_hard_negative": None, "hard_negatives": 0, "cut_texts": 0.125}}}  # fmt: skip


def cells(view):
    return [[f"{cell.text} {cell.detail}".strip() for cell in row] for row in view.rows]


def test_the_leak_stands_beside_the_shuffled_control_and_the_mean():
    rows = cells(leak_table(LEAK))
    assert rows[0] == ["template real samples, 400 captions", "all classes", "0.00", "25.00",
                       "0.88", "−0.02", "–"]  # fmt: skip
    assert rows[1][1:] == ["water", "", "", "0.91", "−0.05", "3.1 19.0 of the mean"]
    assert rows[2][4:6] == ["–", "–"]


def test_recall_stands_beside_chance_and_shuffled_captions():
    view = retrieval_table(RETRIEVAL)
    assert cells(view)[0][2] == "50.0 chance 1.0, shuffled 2.0"
    assert [row[-1] for row in cells(view)] == ["3.0", "2.5"]
    assert "890 captions of 178 real train rows" in view.notes[0]


def test_clip_stands_beside_both_controls():
    assert cells(clip_table(CLIP)) == [
        ["real samples 10", "29.66", "28.10", "–", "80.0", "–", "12.5"]
    ]


def test_the_section_shows_what_was_measured_and_names_what_was_not(monkeypatch):
    from terraloom.report import galleries, sections

    monkeypatch.setattr(galleries, "caption_gallery", lambda *a: None)
    monkeypatch.setattr(galleries, "contradicted_gallery", lambda *a: None)
    monkeypatch.setattr(sections, "_writers", lambda files: None)
    files = SimpleNamespace(
        scores={"leak": LEAK, "clipscore": CLIP}, table=lambda name: None, json=lambda name: None
    )
    blocks = captions_section(files, toy_classes()).blocks
    titles = [block.title for block in blocks if block.kind == "table"]
    assert "What the text alone tells of class shares" in titles
    assert "CLIPScore, 100 × cosine, beside its controls" in titles
    told = [block.text for block in blocks if block.kind == "text"][-1]
    assert "whether captions find their images (retrieval)" in told
    assert "clipscore" not in told
