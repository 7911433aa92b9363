"""The command score-captions: files in, claims first, one table or JSON out."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from terraloom.auditing.overlap import score_files
from terraloom.caption_metrics import METRICS, evaluate_captions
from terraloom.classes import preset
from terraloom.cli import app
from terraloom.errors import CaptionFileError, InputError

CLASSES = preset("worldcover7")
CANDIDATES = {"a": "Open water covers most of it.", "b": "Cropland covers most of it.", "c": ""}
REFERENCES = {
    "a": ["Water covers most of the scene.", "A lake."],
    "b": ["Most of it is open water."],
    "c": ["Blue water everywhere"],
}


def written(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    return written(tmp_path / "said.json", CANDIDATES), written(tmp_path / "known.json", REFERENCES)


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for image in CANDIDATES:
        mask = np.full((32, 32), CLASSES.names.index("water"), dtype=np.uint8)
        Image.fromarray(mask).save(folder / f"{image}.png")
    return folder


def test_values_are_those_of_the_metrics_and_an_empty_candidate_counts(files):
    found = score_files(*files, classes=CLASSES)
    scores = evaluate_captions(CANDIDATES, REFERENCES, synonyms=CLASSES)
    assert found["captions"] == 3
    assert {m: found["values"][m] for m in METRICS} == pytest.approx(dict(scores.corpus), abs=1e-6)
    assert "claim_precision" not in found["values"]


def test_masks_put_claims_first(files, masks):
    said, known = files
    arguments = ["score-captions", str(said), str(known), "--masks", str(masks)]
    done = CliRunner().invoke(app, [*arguments, "--mask-style", "labels", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert next(iter(found["values"])) == "claim_precision"
    assert found["values"]["contradicted"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["values"]["names_dominant"] == pytest.approx(1 / 3, abs=1e-6)
    shown = CliRunner().invoke(app, [*arguments, "--mask-style", "labels"]).stdout
    assert shown.index("claim precision") < shown.index("BLEU-1") < shown.index("redundancy")


def test_without_masks_the_table_says_that_no_claim_was_checked(files):
    shown = CliRunner().invoke(app, ["score-captions", *map(str, files)]).stdout
    assert "overlap does not tell true from false" in shown
    assert "exact and stem matches" in " ".join(shown.split())
    # In a terminal of 80 columns every figure stands beside its name.
    values = score_files(*files, classes=CLASSES)["values"]
    assert re.search(rf"METEOR +{values['meteor']:.4f}", shown)
    assert re.search(rf"CIDEr-D +{values['cider_d']:.4f}", shown)


def test_coco_results_meet_coco_references_by_number(tmp_path):
    known = {
        "images": [{"id": 7, "file_name": "seven.png"}, {"id": 8, "file_name": "eight.png"}],
        "annotations": [
            {"id": 1, "image_id": 7, "caption": "A lake in the north."},
            {"id": 2, "image_id": 7, "caption": "Water."},
            {"id": 3, "image_id": 8, "caption": "A wide field."},
        ],
    }
    said = [
        {"image_id": 7, "caption": "a lake in the north"},
        {"image_id": 8, "caption": "a field"},
    ]
    paths = written(tmp_path / "said.json", said), written(tmp_path / "known.json", known)
    found = score_files(*paths, classes=CLASSES)
    assert found["values"]["rouge_l"] > 0.7
    assert found["references_per_caption"] == 1.5


def test_images_without_candidate_are_refused_or_left_out_and_told(tmp_path):
    said = written(tmp_path / "said.json", {"a": CANDIDATES["a"]})
    known = written(tmp_path / "known.json", REFERENCES)
    with pytest.raises(InputError, match="2 of 3 images have no candidate"):
        score_files(said, known, classes=CLASSES)
    found = score_files(said, known, classes=CLASSES, only_candidates=True)
    assert (found["captions"], found["images_without_candidate_left_out"]) == (1, 2)
    arguments = ["score-captions", str(said), str(known), "--only-candidates"]
    assert "2 images of the references" in CliRunner().invoke(app, arguments).stdout


def test_several_candidates_of_an_image_are_refused(tmp_path):
    said = written(tmp_path / "said.json", {"a": ["one", "two"]})
    known = written(tmp_path / "known.json", {"a": ["one"]})
    with pytest.raises(CaptionFileError, match="several captions of image 'a'"):
        score_files(said, known, classes=CLASSES)
    with pytest.raises(CaptionFileError, match="--mask-style 'x' is unknown"):
        score_files(said, known, classes=CLASSES, mask_style="x")


def test_empty_references_are_left_out_and_counted(tmp_path):
    said = written(tmp_path / "said.json", {"a": "one lake"})
    known = written(tmp_path / "known.json", {"a": ["one lake", "", None]})
    found = score_files(said, known, classes=CLASSES)
    assert found["references_left_out"] == {"empty": 1, "not a text": 1}
    assert found["values"]["rouge_l"] == 1
