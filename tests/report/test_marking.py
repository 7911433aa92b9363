"""Captions with marked claims: nothing is lost, the worst verdict shows, nothing runs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.conftest import build_samples, make_synthetic, write_captions, write_scores

from terraloom.claiming import claim_rows
from terraloom.claims import check_caption
from terraloom.classes import preset
from terraloom.report.marking import marked
from terraloom.report.page import write_report

SEVEN = preset("worldcover7")
SHARES = [0.6, 0.0, 0.3, 0.0, 0.0, 0.0, 0.1]


def pieces(text: str) -> list[tuple[str, str]]:
    rows = list(claim_rows("a", 0, check_caption(text, SHARES, SEVEN)))
    return [(piece.text, piece.tone) for piece in marked(text, rows)]


def test_each_claim_is_marked_by_its_verdict() -> None:
    assert pieces("Trees, crops and perhaps houses.") == [
        ("Trees", "supported"), (", ", ""), ("crops", "contradicted"), (" and perhaps ", ""),
        ("houses", "not-checkable"), (".", ""),
    ]  # fmt: skip


def test_where_claims_overlap_the_worst_verdict_shows_and_all_are_told() -> None:
    rows = list(claim_rows("a", 0, check_caption("Dominated by water.", SHARES, SEVEN)))
    first, water, _ = marked("Dominated by water.", rows)
    assert (first.text, first.tone) == ("Dominated by ", "contradicted")
    assert (water.text, water.tone) == ("water", "contradicted")
    assert "dominant of water: contradicted" in water.detail
    assert "presence of water: supported" in water.detail


@given(
    st.lists(
        st.sampled_from(["trees", "water", "crops", " ", ", ", "dominated by ", "<b>", "no ", "&"])
    )
)
def test_the_pieces_make_up_the_caption(words: list[str]) -> None:
    text = "".join(words)
    assert "".join(piece for piece, _ in pieces(text)) == text


def test_a_caption_without_claims_is_plain() -> None:
    assert marked("A fine day.", []) == marked("A fine day.", ())
    assert [p.tone for p in marked("A fine day.", [])] == [""]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    project = tmp_path_factory.mktemp("marking") / "project"
    mark = '<i onmouseover="alert(1)">Crops cover all of it.</i> '
    real = build_samples(project, SEVEN)
    synthetic, labels = make_synthetic(project, SEVEN)
    captions = write_captions(project, real, synthetic, SEVEN, mark)
    write_scores(project, real, synthetic, labels, captions, SEVEN)
    path = write_report(
        project, project / "report", title="marks", classes=SEVEN, provenance={"seed": 1}
    )
    return path.read_text(encoding="utf-8")


def test_the_page_marks_claims_with_a_legend_and_escapes_what_they_hold(page: str) -> None:
    assert '<mark class="supported" title="' in page
    assert "Claims: " in page
    assert "wavy" in page
    assert "<i onmouseover" not in page
    assert "&lt;i onmouseover=&#34;alert(1)&#34;&gt;" in page
    assert "Claims of captions, checked against the masks, by writer" in page


def test_captions_that_are_contradicted_have_a_gallery_of_their_own(page: str) -> None:
    assert "Captions that the mask contradicts" in page
    assert '<mark class="contradicted" title="' in page


def test_the_marks_differ_by_line_style_too() -> None:
    style = Path(__file__).parents[2] / "src/terraloom/report/templates/style.css"
    text = style.read_text(encoding="utf-8")
    assert "text-decoration-style: wavy" in text
    assert "text-decoration-style: dotted" in text
