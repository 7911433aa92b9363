"""Markdown and JSON twins: the page's numbers, its sources, and nothing else's markup."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from terraloom.report.json_twin import parse_number
from terraloom.report.markdown_twin import escape, escape_inside

from .test_page import _Text

READER = MarkdownIt("commonmark", {"html": True}).enable("table")


@pytest.fixture(scope="module")
def twin(report: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((report / "report.json").read_text(encoding="utf-8"))
    return value


def blocks_of(twin: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    sections = [part for own in twin["sections"] for part in (own, *own["subsections"])]
    return [b for section in sections for b in section["blocks"] if b["kind"] == kind]


def tables_of(html: str) -> list[list[str]]:
    """Texts of the cells of each table, in order."""
    found = []
    for part in html.split("<table>")[1:]:
        rows = part.split("</table>")[0].split("<tbody>")[-1]
        cells = [_Text(cell).text.strip() for cell in rows.split("<td")[1:]]
        # The first piece begins inside its tag.
        found.append([" ".join(cell.split(">", 1)[-1].split()) for cell in cells])
    return found


def test_every_table_stands_in_all_three(report: Path, twin: dict[str, Any]) -> None:
    page = tables_of((report / "report.html").read_text(encoding="utf-8"))
    text = READER.render((report / "report.md").read_text(encoding="utf-8"))
    told = tables_of(text)
    tables = blocks_of(twin, "table")
    assert len(page) == len(told) == len(tables) > 15
    for seen, written, table in zip(page, told, tables, strict=True):
        cells = [(c["text"], c.get("detail", "")) for row in table["rows"] for c in row]
        assert seen == [" ".join(f"{text} {detail}".split()) for text, detail in cells]
        assert written == [
            " ".join(
                (f"{text} {detail}" if detail[:1] in ("", "[") else f"{text} ({detail})").split()
            )
            for text, detail in cells
        ]


def test_numbers_of_the_results_are_numbers_in_the_twin(
    project: Path, twin: dict[str, Any]
) -> None:
    results = json.loads((project / "benchmark" / "results.json").read_text())
    table = blocks_of(twin, "table")[0]
    assert table["headers"][:3] == ["arm", "training rows", "macro F1"]
    for row, known in zip(table["rows"], results["table"], strict=True):
        assert row[0]["text"] == known["arm"]
        assert row[2]["value"] == pytest.approx(100 * known["f1"]["mean"], abs=0.0501)
        ends = [100 * known["f1"]["low"], 100 * known["f1"]["high"]]
        assert row[2]["interval"] == pytest.approx(ends, abs=0.0501)
    assert blocks_of(twin, "verdict")[0]["sentence"] == results["sentence"]


def test_sources_name_file_run_and_checksum(project: Path, twin: dict[str, Any]) -> None:
    sources = [s for kind in ("table", "figure", "gallery") for b in blocks_of(twin, kind)
               for s in b["sources"]]  # fmt: skip
    assert all(source["file"] for source in sources)
    curate = json.loads((project / "curate" / "stage.json").read_text())
    funnel = next(s for s in sources if s["file"] == "curate/funnel.json")
    assert funnel["run"] == curate["key"]
    from terraloom.files import sha256_of

    assert funnel["sha256"] == sha256_of(project / "curate" / "funnel.json")
    samples = next(s for s in sources if s["file"] == "build/samples")
    assert samples["sha256"] == sha256_of(project / "build" / "samples" / "manifest.json")


def test_figures_named_by_the_twins_are_there(report: Path, twin: dict[str, Any]) -> None:
    named = [f for kind in ("figure", "gallery") for b in blocks_of(twin, kind) for f in b["files"]]
    assert len(named) > 20
    assert all((report / name).is_file() for name in named)
    assert {p.name for p in (report / "figures").iterdir()} == {Path(n).name for n in named}
    text = (report / "report.md").read_text(encoding="utf-8")
    for block in blocks_of(twin, "figure") + blocks_of(twin, "gallery"):
        assert f"({block['files'][0]})" in text


def test_captions_keep_their_claims(report: Path, twin: dict[str, Any]) -> None:
    pieces = [
        piece
        for gallery in blocks_of(twin, "gallery")
        for card in gallery["cards"]
        for caption in card["captions"]
        for piece in caption
    ]
    marked = [piece for piece in pieces if piece.get("tone") == "supported"]
    assert marked
    assert all("supported" in piece["detail"] for piece in marked)
    assert "*✓" in (report / "report.md").read_text(encoding="utf-8")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=60))
def test_any_text_reads_back_as_itself(text: str) -> None:
    html = READER.render(escape(text))
    plain = " ".join(text.split())
    assert _Text(html).text.strip() == plain
    assert set(_Text(html).tags) <= {"p"}


@given(st.text(alphabet="|\\`*_[]()<>!#-+=.:~ 0a", min_size=1, max_size=30))
def test_any_text_keeps_to_its_cell(text: str) -> None:
    html = READER.render(f"| a | b |\n| --- | --- |\n| {escape_inside(text) or ' '} | end |")
    cells = tables_of(html)[0]
    assert cells == [" ".join(text.split()), "end"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("12.5", 12.5), ("−0.3", -0.3), ("+1.7", 1.7), ("585,728", 585728), ("–", None),
     ("1 to 12", None), ("", None), ("0.004", 0.004)],
)  # fmt: skip
def test_numbers_are_read_as_they_are_shown(text: str, value: float | None) -> None:
    assert parse_number(text) == value
