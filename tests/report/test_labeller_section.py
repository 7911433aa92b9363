"""The section on the labeller: what is told of curves, confidence, confusion and label noise."""

import numpy as np
import pytest

from terraloom.calibration import calibrate
from terraloom.dataset.rows import val_rows
from terraloom.files import append_line, read_json, write_json
from terraloom.label_noise import noise_figures
from terraloom.learning.device import make_fabric
from terraloom.report import tables
from terraloom.report.labeller_section import labeller_section
from terraloom.report.reading import ProjectFiles
from terraloom.report.views import FigureView, TableView, TextView
from terraloom.testing import colour_labeller, toy_classes, write_real


@pytest.fixture
def labeller(tmp_path):
    """A folder with one calibrated labeller, and a function that adds another."""
    val = val_rows(write_real(tmp_path / "build" / "samples"))

    def add(name="labeller", best=3):
        folder = tmp_path / "segment" / name
        scores = [0.2, 0.4, 0.5, 0.45] if best == 3 else [0.1, 0.2, 0.3, 0.6]
        history = [
            {"images": 100 * n, "val_f1": score, "val_accuracy": score + 0.1}
            for n, score in enumerate(scores, start=1)
        ]
        for entry in history:
            append_line(folder / "log.jsonl", {"images": entry["images"], "loss": 1.0, "rate": 0.1})
            append_line(folder / "log.jsonl", entry)
        append_line(folder / "log.jsonl", {"waiting_share": 0.1})
        write_json(folder / "state.json", {"summary": {"history": history}})
        calibrate(colour_labeller(make_fabric(1)), val, folder, 0, pixels=2000)

    add()
    return tmp_path, add


def blocks(folder, kind):
    section = labeller_section(ProjectFiles(folder), toy_classes())
    return [block for block in section.blocks if isinstance(block, kind)]


def told(folder):
    """Every sentence of the section."""
    said = [block.text for block in blocks(folder, TextView)]
    for kind in (FigureView, TableView):
        said += [note for block in blocks(folder, kind) for note in (block.title, *block.notes)]
    return " ".join(said)


def test_curves_confidence_and_confusion_of_one_labeller(labeller):
    folder, _ = labeller
    names = [figure.name for figure in blocks(folder, FigureView)]
    assert names == ["labeller-curve", "reliability", "confusion"]
    said = told(folder)
    assert "Best after 300 of 400 images, macro F1 50.0 % on val" in said
    assert "The last check stands at 45.0 %." in said
    found = read_json(folder / "segment" / "labeller" / "calibration.json")
    assert f"Confidence lies {100 * found['after']['ece']:.1f} points from accuracy" in said
    assert f"fitted on {found['pixels']:,} val pixels of 2 places" in said
    assert "15 bins of equal width" in said
    assert "was not estimated (segment.noise_folds = 0)" in said
    (table,) = blocks(folder, TableView)
    assert [row[0].text for row in table.rows] == list(toy_classes().names)


def test_a_best_check_at_the_end_is_told(labeller):
    folder, add = labeller
    add("labeller", best=4)
    assert "The last check is the best one: a longer training may learn more." in told(folder)


def test_a_training_that_logged_a_check_twice_has_one_curve(labeller):
    folder, _ = labeller
    before = blocks(folder, FigureView)[0].drawing.png
    log = folder / "segment" / "labeller" / "log.jsonl"
    append_line(log, {"images": 300, "loss": 1.0, "rate": 0.1})
    append_line(log, {"images": 300, "val_f1": 0.5, "val_accuracy": 0.6})
    assert blocks(folder, FigureView)[0].drawing.png == before
    log.unlink()
    assert "segment/labeller/log.jsonl" not in blocks(folder, FigureView)[0].sources


def test_several_labellers_and_all_looks_together_stand_apart(labeller):
    folder, add = labeller
    add("labeller-2")
    found = read_json(folder / "segment" / "labeller" / "calibration.json")
    write_json(folder / "label" / "calibration.json", found)
    names = [figure.name for figure in blocks(folder, FigureView)]
    assert names == ["labeller-curve", "reliability", "confusion"]
    said = told(folder)
    assert "right nine times out of ten, all looks together?" in said
    assert "labeller-2: best after" in said
    assert "labelled by all looks together" in said
    table = blocks(folder, TableView)[-1]
    assert [row[0].text for row in table.rows] == ["labeller", "labeller-2", "all looks together"]
    assert {row[1].text for row in table.rows} == {f"{found['temperature']:.2f}"}
    right = np.trace(found["confusion"]) / np.sum(found["confusion"])
    assert table.rows[0][4].text == f"{100 * right:.1f}"
    # Before the stage label has run, the first labeller speaks for itself.
    (folder / "label" / "calibration.json").unlink()
    assert "all looks together" not in " ".join(f.title for f in blocks(folder, FigureView))
    assert len(blocks(folder, TableView)[-1].rows) == 2


def test_where_it_is_nine_tenths_sure_is_read_from_the_bin_of_nine_tenths(labeller):
    folder, _ = labeller
    path = folder / "segment" / "labeller" / "calibration.json"
    found = read_json(path)
    found["after"]["bins"] = [
        {"confidence": 0.5, "accuracy": 0.4, "pixels": 10},
        {"confidence": 0.904, "accuracy": 0.871, "pixels": 10},
        {"confidence": 0.95, "accuracy": 0.99, "pixels": 10},
    ]
    write_json(path, found)
    assert "about 90 % sure (90.4 % on average), it is right 87.1 % of the time" in told(folder)
    found["after"]["bins"].pop(1)
    write_json(path, found)
    assert "about 90 % sure" not in told(folder)


def test_what_is_missing_is_said(labeller):
    folder, _ = labeller
    path = folder / "segment" / "labeller" / "calibration.json"
    found = read_json(path)
    # Files of earlier versions hold neither classes nor confusion.
    old = {key: value for key, value in found.items() if key != "confusion"}
    for key in ("before", "after"):
        old[key] = {k: v for k, v in found[key].items() if k != "classes"}
    write_json(path, old)
    assert [f.name for f in blocks(folder, FigureView)] == ["labeller-curve", "reliability"]
    write_json(path, {"temperature": 1.0, "pixels": 0, "before": None, "after": None})
    assert "was not calibrated: val holds no known pixel" in told(folder)
    path.unlink()
    assert "Its confidence was not calibrated." in told(folder)
    (folder / "segment" / "labeller" / "state.json").unlink()
    assert "stage segment has left nothing here" in told(folder)


def test_label_noise_tells_shares_intervals_pixels_and_places(labeller):
    folder, _ = labeller
    matrices = np.stack([np.diag([90, 0, 5, 5]) + np.eye(4, k=1, dtype=np.int64)] * 3)
    found = {"folds": 2, "places": 3, **noise_figures(matrices, 0)}
    write_json(folder / "segment" / "noise" / "label-noise.json", found)
    said = told(folder)
    assert "On train places that it never saw, 2.9 % of its labels are wrong [2.9, 2.9]." in said
    assert "2 labellers of the same recipe" in said
    assert "3 places in all, 309 pixels" in said
    table = blocks(folder, TableView)[-1]
    assert table.headers[-2:] == ("pixels", "places")
    assert [row[3].text for row in table.rows] == ["3"] * 5
    assert table.rows[1][1].text == "100.0"
    assert blocks(folder, FigureView)[-1].name == "label-noise"


def test_looks_that_agree_are_a_column_where_there_are_several():
    entry = {"samples": 3, "agreement": None, "confidence": 0.8, "known_share": 1.0}
    alone = tables.agreement_table({"unconditional": {**entry, "unanimity": 1.0}})
    assert "looks that agree" not in alone.headers
    assert "looks that agree" not in tables.agreement_table({"unconditional": entry}).headers
    many = tables.agreement_table({"unconditional": {**entry, "unanimity": 0.913}})
    assert many.rows[0][many.headers.index("looks that agree")].text == "91.3"
