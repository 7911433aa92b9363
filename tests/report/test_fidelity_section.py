"""Figures stand between floor and ceiling with their counts; collapse and copies are told."""

from pathlib import Path
from typing import Any

import pytest

from terraloom.files import read_json, write_json
from terraloom.report.fidelity_section import fidelity_section
from terraloom.report.reading import ProjectFiles
from terraloom.report.views import TableView, TextView


def shown(folder: Path, summary: dict[str, Any]) -> tuple[list[TableView], str]:
    write_json(folder / "score" / "summary.json", summary)
    blocks = fidelity_section(ProjectFiles(folder)).blocks
    tables = [block for block in blocks if isinstance(block, TableView)]
    return tables, " ".join(block.text for block in blocks if isinstance(block, TextView))


@pytest.fixture
def summary(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(project / "score" / "summary.json")
    return found


def test_origins_stand_between_floor_and_ceiling_of_their_size(
    summary: dict[str, Any], tmp_path: Path
) -> None:
    tables, _ = shown(tmp_path, summary)
    rows = [[cell.text for cell in row] for row in tables[0].rows]
    assert [row[:4] for row in rows] == [
        ["floor: real val", "12", "1.5", "0.001"],
        ["conditional", "12", "2.12", "0.002"],
        ["unconditional", "12", "5", "0.04"],
        ["ceiling: shuffled pixels", "12", "90,000", "7"],
    ]
    assert tables[0].rows[1][4].text == "80.0"
    assert tables[0].rows[1][4].detail == "77.5 to 82.5"
    notes = " ".join(tables[0].notes)
    assert "576 features; real rows: 90 train, 30 val" in notes
    assert "Too few samples for any figure: rare" in notes
    assert tables[1].rows[0][2].detail == "singular"
    assert [(row[0].text, row[2].text) for row in tables[1].rows] == [
        ("conditional", "1.75"), ("rare", "–"), ("unconditional", "1.75"),
    ]  # fmt: skip


def test_origins_of_two_sizes_have_a_floor_each(summary: dict[str, Any], tmp_path: Path) -> None:
    origins = summary["fidelity"]["networks"][0]["origins"]
    origins["conditional"]["equal"]["samples"] = 40
    tables, _ = shown(tmp_path, summary)
    assert [(row[0].text, row[1].text) for row in tables[0].rows] == [
        ("floor: real val", "40"), ("conditional", "40"), ("ceiling: shuffled pixels", "40"),
        ("floor: real val", "12"), ("unconditional", "12"), ("ceiling: shuffled pixels", "12"),
    ]  # fmt: skip


def test_collapse_and_copies_are_told_in_words(summary: dict[str, Any], tmp_path: Path) -> None:
    tables, told = shown(tmp_path, summary)
    assert "unconditional: recall, coverage and Vendi below half" in told
    assert "conditional: recall" not in told.replace("unconditional: recall", "")
    assert "unconditional: 7 images flagged as copies" in told
    assert "covariances lack full rank" in told
    copies = tables[-1]
    assert [cell.text for cell in copies.rows[2]] == [
        "unconditional", "8", "0.10", "0.20", "0.30", "7", "0",
    ]  # fmt: skip
    assert copies.rows[2][5].detail == "87.5 %"
    assert "Compared with 50 of 90 train images" in copies.notes[-1]


def test_without_figures_the_section_says_what_is_missing(tmp_path: Path) -> None:
    _, told = shown(tmp_path, {"agreement": {}})
    assert "figure of fidelity" in told
