"""The audit from the command line and as plain values, on small files with known figures."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from terraloom.auditing.command import audit_file, write_audit_page
from terraloom.auditing.truth import truth_of_masks
from terraloom.captioners import template
from terraloom.captioning import caption_samples
from terraloom.classes import preset
from terraloom.cli import app
from terraloom.errors import CaptionFileError, InputError
from terraloom.testing import toy_classes, write_real

SEVEN = preset("worldcover7")
NAMES = ("tree", "shrub", "grass", "crop", "built-up", "barren", "water")


def audit(path, **options):
    return audit_file(path, classes=SEVEN, max_images=4000, **options)


def telling_file(folder, rows=60, leak=True):
    """Captions of rows of shares: one writer says which class is largest, the other nothing."""
    rng = np.random.default_rng(0)
    lines = ["filename," + ",".join(NAMES) + ",text_teller,vision_mute"]
    for number in range(rows):
        largest = int(rng.integers(7))
        shares = np.full(7, 5)
        shares[largest] = 70
        told = f"{shares[largest]}% {NAMES[largest]}" if leak else NAMES[largest]
        lines.append(f"{number}.png,{','.join(map(str, shares))},{told} is here,a view {number}")
    path = folder / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_figures_of_a_file_whose_answer_is_in_the_text(tmp_path):
    found = audit(telling_file(tmp_path))
    assert (found["captions"], found["images"]) == (120, 60)
    assert set(found["redundancy"]) == {"all", "text_teller", "vision_mute"}
    assert found["redundancy"]["text_teller"]["unique"] == 7
    assert found["redundancy"]["vision_mute"]["exact"] == 0
    assert found["leak"]["text_teller"]["with_percentages"] == 1
    assert found["stating_shares"] == {"all": 0.5, "text_teller": 1.0, "vision_mute": 0.0}
    teller, mute = (
        found["claims"]["writers"]["text_teller"],
        found["claims"]["writers"]["vision_mute"],
    )
    assert teller["clearly_dominant_captions"] == 60
    assert (teller["name_the_dominant_class"], mute["name_the_dominant_class"]) == (1, 0)
    assert teller["contradicted_captions"] == mute["contradicted_captions"] == 0
    assert teller["supported"] >= 60
    assert found["claims"]["against"] == "shares"
    teller, mute = found["probe"]["text_teller"], found["probe"]["vision_mute"]
    assert teller["r2"] > 0.6 > 0.2 > teller["r2_shuffled"]
    assert mute["r2"] < 0.15
    assert teller["classes"]["tree"]["error"] < teller["classes"]["tree"]["error_mean"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_words_leak_without_a_digit(tmp_path):
    found = audit(telling_file(tmp_path, leak=False))
    assert found["leak"]["all"]["with_digits"] == 0.5  # the mute writer numbers its views
    assert found["leak"]["text_teller"]["with_digits"] == 0
    assert found["probe"]["text_teller"]["r2"] > 0.6


@pytest.mark.parametrize("style", ["labels", "codes", "colours", "palette"])
def test_shares_are_measured_on_masks_of_every_style(tmp_path, style):
    masks = tmp_path / "masks"
    masks.mkdir()
    codes = np.array([10, 20, 30, 40, 50, 60, 80], dtype=np.uint8)
    rng = np.random.default_rng(1)
    names = [f"im{number}" for number in range(6)]
    for name in names:
        labels = rng.choice([0, 2, 6], size=(8, 8), p=[0.7, 0.2, 0.1]).astype(np.uint8)
        image = Image.fromarray(
            {"labels": labels, "palette": labels, "codes": codes[labels],
             "colours": SEVEN.colour_image(labels)}[style]
        )  # fmt: skip
        if style == "palette":
            image.putpalette(SEVEN.palette.ravel().tolist())
        image.save(masks / f"{name}.png")
    path = tmp_path / "c.json"
    path.write_text(json.dumps({f"train/{name}.jpg": ["Trees."] for name in names}))
    found = audit(path, masks=masks)
    read_as = "labels" if style == "palette" else style
    assert found["truth"]["source"] == f"masks in masks, read as {read_as}"
    assert found["truth"]["images"] == 6
    claims = found["claims"]["writers"]["all"]
    assert (claims["clearly_dominant_captions"], claims["name_the_dominant_class"]) == (6, 1.0)
    assert found["claims"]["against"] == "masks"
    assert "too few" in found["probe"]["all"]["why_not"]
    images = [f"train/{name}.jpg" for name in names]
    truth = truth_of_masks(masks, images, SEVEN)
    assert truth.mask_of(images[0]).max() == 6


def test_masks_that_fit_no_image_or_no_table_are_told(tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"a.png": ["x"]}))
    Image.fromarray(np.full((4, 4), 77, np.uint8)).save(masks / "other.png")
    with pytest.raises(CaptionFileError, match=r"no mask in .* is named like an image"):
        audit(path, masks=masks)
    Image.fromarray(np.full((4, 4), 77, np.uint8)).save(masks / "a.png")
    with pytest.raises(CaptionFileError, match=r"neither labels nor codes .*\[77\]"):
        audit(path, masks=masks)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(masks / "a.png")
    with pytest.raises(CaptionFileError, match="may be labels or codes"):
        audit(path, masks=masks)
    assert audit(path, masks=masks, mask_style="labels")["truth"]["images"] == 1
    (masks / "a.png").write_bytes((masks / "a.png").read_bytes()[:40])
    with pytest.raises(InputError, match=r"a\.png cannot be read"):
        audit(path, masks=masks, mask_style="labels")
    with pytest.raises(CaptionFileError, match="--mask-style 'ids' is unknown"):
        audit(path, masks=masks, mask_style="ids")


def test_a_project_brings_its_own_masks(tmp_path):
    classes = toy_classes()
    samples = write_real(tmp_path / "build" / "samples", 12, 4, 4)
    writer = template.build(template.Settings(captions_per_image=2), classes, 0)
    caption_samples(
        samples, writer, tmp_path / "caption" / "real", settings_sha256="0" * 64, description="x"
    )
    path = tmp_path / "caption" / "real"
    found = audit_file(path, classes=classes, max_images=4000)
    assert found["layout"] == "captions table of terraloom"
    assert found["truth"]["source"] == "masks of the samples table samples"
    assert found["truth"]["images"] == found["images"] == 20
    assert found["truth"]["grouped_by"] == "place"
    claims = found["claims"]["writers"]["all"]
    assert claims["name_the_dominant_class"] > 0.9
    assert claims["contradicted_captions"] == 0
    assert claims["kinds"]["place"]["supported"] > 0
    assert found["leak"]["all"]["with_digits"] == 0
    assert found["probe"]["all"]["groups"] == 10
    images = samples.read(["id"])["id"].to_pylist()
    truth = truth_of_masks(samples.folder, images, classes)
    for image, row in zip(images, samples.read(["shares"])["shares"].to_pylist(), strict=True):
        assert truth.shares[image] == pytest.approx(row, abs=1e-6)
        assert classes.shares(truth.mask_of(image)) == pytest.approx(row, abs=1e-6)
    fewer = audit_file(path, classes=classes, max_images=5)
    assert fewer["truth"]["images"] == 5
    assert fewer["captions"] == 40


def test_hostile_captions_reach_the_page_as_text_and_are_counted(tmp_path):
    path = tmp_path / "c.json"
    texts = ["<script>alert(1)</script>", "a\u202eb", "y" * 3000, "\ud800 half"]
    path.write_text(json.dumps({"<img src=x onerror=alert(2)>": texts, "b": [None, "ERROR: x"]}))
    found = audit(path)
    assert found["text"]["markup"]["captions"] == 1
    assert found["text"]["invisible"]["captions"] == 1
    assert found["text"]["overlong"]["captions"] == 1
    assert found["left_out"]["not a text"]["entries"] == 1
    write_audit_page(tmp_path / "page.html", found)
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    json.dumps(found)


def test_a_writer_who_is_not_told_and_one_called_all_have_their_own_figures(tmp_path):
    path = tmp_path / "c.json"
    rows = [("a", "all", "x"), ("b", "all", "x"), ("c", "", "y"), ("d", "", "z"), ("e", "w", "x")]
    path.write_text(json.dumps([{"id": i, "writer": w, "caption": t} for i, w, t in rows]))
    found = audit(path)["redundancy"]
    assert {key: (f["captions"], f["unique"]) for key, f in found.items()} == {
        "all": (5, 3), "writer all": (2, 1), "(not told)": (2, 2), "w": (1, 1),
    }  # fmt: skip


def test_contradicted_captions_come_first_among_the_examples_and_are_marked(tmp_path):
    path = tmp_path / "c.csv"
    rows = "".join(f"{i},90,0,10,0,0,0,0,Trees cover most of it.\n" for i in range(20))
    lie = "20,0,0,100,0,0,0,0,<b>Water</b> dominates the scene.\n"
    path.write_text("id," + ",".join(NAMES) + ",caption\n" + rows + lie)
    found = audit(path)
    claims = found["claims"]
    assert claims["writers"]["all"]["contradicted_captions"] == 1
    assert claims["examples"][0]["image"] == "20"
    assert len(claims["examples"]) == 12
    kinds = {(c["kind"], c["verdict"]) for c in claims["examples"][0]["claims"]}
    assert ("dominant", "contradicted") in kinds
    write_audit_page(tmp_path / "p.html", found)
    page = (tmp_path / "p.html").read_text()
    assert 'class="contradicted"' in page
    assert "<b>Water" not in page


def test_a_file_without_a_caption_is_refused(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"a": [None, ""]}))
    with pytest.raises(CaptionFileError, match=r"holds no caption: 1 empty, 1 not a text\."):
        audit(path)


def test_the_command_prints_tables_json_and_a_page(tmp_path):
    path = telling_file(tmp_path)
    done = CliRunner().invoke(
        app, ["audit-captions", str(path), "--json", "--html", str(tmp_path / "p.html")]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["redundancy"]["all"]["captions"] == 120
    page = (tmp_path / "p.html").read_text()
    assert "Leak probe" in page
    assert "NWPU-Captions" in page
    shown = CliRunner().invoke(app, ["audit-captions", str(path)]).stdout
    assert "Redundancy, in percent" in shown
    assert "text_teller" in shown


def test_wrong_input_ends_with_one_message(tmp_path):
    done = CliRunner().invoke(app, ["audit-captions", str(tmp_path / "none.csv")])
    assert isinstance(done.exception, CaptionFileError)
    assert done.exception.exit_code == 2


@pytest.mark.parametrize(("name", "percent"), [("rsicd", 66.69), ("sydney", 63.82)])
def test_published_sets_have_their_figures(shared_data, name, percent):
    found = audit(shared_data / "captions" / f"{name}.json")
    assert 100 * found["redundancy"]["all"]["exact"] == pytest.approx(percent, abs=0.005)


def test_the_real_rows_of_aras_show_the_leak_and_the_miss(shared_data):
    found = audit(shared_data / "captions" / "aras400k_rows.csv")
    assert (found["captions"], found["images"]) == (65, 13)
    assert found["stating_shares"]["hybrid_gemma3-4b"] == 1.0
    assert found["stating_shares"]["vision_gemma3-4b"] == 0.0
    writers = found["claims"]["writers"]
    assert writers["hybrid_gemma3-4b"]["name_the_dominant_class"] == 1.0
    assert writers["vision_qwen3-vl-8b"]["name_the_dominant_class"] < 0.5
    assert writers["vision_gemma3-4b"]["contradicted_captions"] > 3
    assert writers["text_qwen3-4b"]["contradicted_captions"] <= 2
    assert found["truth"]["grouped_by"] == "tile"
