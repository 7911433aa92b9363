"""Curves over arms whose names say how much; a cross-validation's page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from terraloom.classes import preset
from terraloom.files import read_json, write_json
from terraloom.judging import judge
from terraloom.report.confusion_section import confusion_section
from terraloom.report.curves_section import curves_section, parse_arm
from terraloom.report.page import write_report
from terraloom.report.reading import ProjectFiles
from terraloom.report.views import FigureView, TableView
from terraloom.report.wording import interval, percent, points
from terraloom.settings import BenchmarkSettings

from .conftest import PROVENANCE

ARMS = (
    "real", "real-strong", "real+both", "real+both@0.5x", "real+both@2x", "real@25%", "real@50%",
    "real+both@25%",
)  # fmt: skip
CLASSES = preset("worldcover7")


def cells_of(arms: tuple[str, ...], folds: int = 1, chains: int = 1) -> list[dict[str, Any]]:
    """Cells whose arms are the better the more their name holds."""
    random = np.random.default_rng(3)
    cells = []
    for fold in range(folds):
        for chain in range(chains):
            for rank, arm in enumerate(arms):
                for seed in range(2):
                    matrices = {
                        f"p{fold}-{place}": (
                            random.integers(1, 9, (7, 7)) + (30 + 4 * rank) * np.eye(7, dtype=int)
                        ).tolist()
                        for place in range(4)
                    }
                    where = {"fold": fold, "chain": chain} if folds > 1 else {}
                    cells.append(
                        {"arm": arm, "architecture": "unet", "seed": seed, "rows": 5 + rank,
                         "images": 100, "best_images": 50, "val_f1": 0.5, "confusion": matrices,
                         **where}
                    )  # fmt: skip
    return cells


def project_of(folder: Path, arms: tuple[str, ...], folds: int = 1, chains: int = 1) -> Path:
    settings = BenchmarkSettings(arms=arms, seeds=2, draws=200)
    cells = cells_of(arms, folds, chains)
    results = judge(cells, CLASSES.names, settings, 3)
    rows = {arm: 5 + rank for rank, arm in enumerate(arms)}
    results |= {"recipe_sha256": "0", "missing_arms": [], "rows": rows}
    write_json(folder / "benchmark" / "results.json", results)
    write_json(folder / "benchmark" / "recipe.json", {"sha256": "ab" * 32, "settings": {}})
    for cell in cells:
        own = folder
        if folds > 1:
            own = folder / "chains" / f"fold-{cell['fold']}-seed-{cell['chain']}"
        name = f"{cell['architecture']}-{cell['arm']}-{cell['seed']}"
        write_json(own / "benchmark" / "cells" / name / "result.json", cell)
    return folder


@pytest.mark.parametrize(
    ("arm", "found"),
    [
        ("real+both@0.5x", ("real+both", 0.5, "x")), ("real@25%", ("real", 25.0, "%")),
        ("real+both@25%@2x", ("real+both@25%", 2.0, "x")), ("real+both", None),
        ("real@", None), ("real@x", None),
    ],
)  # fmt: skip
def test_names_say_how_much(arm: str, found: tuple[str, float, str] | None) -> None:
    parsed = parse_arm(arm)
    assert (parsed and (parsed.base, parsed.at, parsed.unit)) == found


def test_curves_show_every_arm_with_its_interval_and_gain(tmp_path: Path) -> None:
    files = ProjectFiles(project_of(tmp_path, ARMS))
    section = curves_section(files)
    assert section is not None
    figures = [block.name for block in section.blocks if isinstance(block, FigureView)]
    assert figures == ["ratio-curve", "ratio-gain", "size-curve", "size-gain"]
    results = files.results
    assert results is not None
    table = {row["arm"]: row["f1"] for row in results["table"]}
    best = max(("real", "real-strong"), key=lambda arm: table[arm]["mean"])
    gains = {
        (row["arm"], row["control"]): row for row in results["differences"] if row["metric"] == "f1"
    }
    ratios, sizes = (block for block in section.blocks if isinstance(block, TableView))
    assert [row[0].text for row in ratios.rows] == ["real+both@0.5x", "real+both@2x"]
    assert [row[1].text for row in ratios.rows] == ["0.5", "2"]
    for row in ratios.rows:
        arm = row[0].text
        gain = gains[arm, best]
        assert row[3].text == percent(table[arm]["mean"])
        assert row[3].detail == interval(table[arm]["low"], table[arm]["high"])
        assert row[4].text == points(gain["mean"])
        assert row[5].text == best
    # A share is compared with controls of that share, and the whole set ends the line.
    told = {row[0].text: row for row in sizes.rows}
    assert list(told) == ["real@25%", "real@50%", "real", "real+both@25%", "real+both"]
    assert told["real+both@25%"][5].text == "real@25%"
    assert told["real@25%"][4].text == "–"


def test_curves_are_left_out_where_no_arm_says_how_much(project: Path, tmp_path: Path) -> None:
    assert curves_section(ProjectFiles(project)) is None
    assert curves_section(ProjectFiles(tmp_path)) is None


def test_confusions_are_those_of_all_runs_and_places(tmp_path: Path) -> None:
    files = ProjectFiles(project_of(tmp_path, ("real", "synthetic")))
    total = np.sum(
        [list(cell["confusion"].values()) for cell in cells_of(("real", "synthetic"))
         if cell["arm"] == "real"], axis=(0, 1),
    )  # fmt: skip
    assert np.array_equal(sum(c.confusion for c in files.cells if c.arm == "real"), total)
    (figure,) = confusion_section(files).blocks
    assert isinstance(figure, FigureView)
    for share in np.diag(total) / total.sum(axis=1):
        assert f">{100 * share:.0f}</text>" in figure.drawing.svg
    assert "real: 2 runs; synthetic: 2 runs" in figure.notes[0]


def test_many_arms_are_drawn_four_to_a_figure(tmp_path: Path) -> None:
    section = confusion_section(ProjectFiles(project_of(tmp_path, ARMS)))
    names = [block.name for block in section.blocks if isinstance(block, FigureView)]
    assert names == ["arm-confusion-1", "arm-confusion-2"]


def test_a_cross_validation_has_a_page_of_its_chains(tmp_path: Path) -> None:
    folder = project_of(tmp_path, ("real", "real+both", "unfiltered"), folds=2, chains=2)
    # A chain of an earlier start with more seeds plays no part.
    stale = folder / "chains" / "fold-0-seed-9" / "benchmark" / "cells" / "unet-real-0"
    first = next((folder / "chains" / "fold-0-seed-0").rglob("result.json"))
    write_json(stale / "result.json", read_json(first))
    for share, chain in enumerate((folder / "chains").glob("*-seed-[01]")):
        floor = dict.fromkeys(("f1", "iou", "precision", "recall", "accuracy"), 0.2 * share)
        write_json(
            chain / "benchmark" / "floors.json",
            {"floors": {"forest": floor, "majority": floor}, "role": "test", "trees": 40,
             "majority_class": f"class {share}", "train_pixels": 10},
        )  # fmt: skip
    files = ProjectFiles(folder)
    assert files.chains == [f"fold-{f}-seed-{s}" for f in (0, 1) for s in (0, 1)]
    assert len(files.cells) == 3 * 2 * 4
    page = write_report(
        folder, tmp_path / "out", title="folds", classes=CLASSES, provenance=PROVENANCE
    ).read_text(encoding="utf-8")
    assert "2 folds of places, each with 2 segmenter seeds nested in 2 generator seeds" in page
    assert "fold-1-seed-1" in page
    assert "does curation matter?" in page
    assert "between generator seeds" in page
    assert "One generator seed" not in page
    # Floors are means over the chains: of 0, 20, 40 and 60.
    written = (tmp_path / "out" / "report.md").read_text(encoding="utf-8").splitlines()
    floors = next(line for line in written if line.startswith("| forest, pixel by pixel"))
    assert floors.count(" 30.0 ") == 5
    assert "always the commonest class" in page
    # Data of their own have the chains alone, so nothing is said to be missing.
    assert "Not run: stage build" not in page
    assert 'run <code title="' + "ab" * 32 in page
