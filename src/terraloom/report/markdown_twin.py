"""The page as Markdown: for a repository, a review, a mail; figures stand beside it as files."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from terraloom.report.tracing import Tracer
from terraloom.report.views import (
    Block,
    Cell,
    FigureView,
    GalleryView,
    LegendView,
    ListView,
    Marked,
    MarkedView,
    PipelineView,
    Section,
    TableView,
    TextView,
    VerdictView,
)

_MARKS: Final = {"supported": "✓", "contradicted": "✗", "not-checkable": "?"}
_SPECIAL: Final = re.compile(r"([\\`*_\[\]|~$])")
_HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# A heading, a list, a rule or an underline begins a line with these; inside it they mean nothing.
_FIRST: Final = re.compile(r"^(?:#|[-+](?=\s|$)|[-=]+\s*$|-(?:\s*-)+\s*$|\d+(?=[.)](?:\s|$)))")
_INTERVAL: Final = re.compile(r"\[[-+\N{MINUS SIGN}]?[\d.,]+, [-+\N{MINUS SIGN}]?[\d.,]+\]")
# Some readers make links of bare addresses.
_ADDRESS: Final = re.compile(r"://|\bwww\.", re.IGNORECASE)


def markdown_twin(
    title: str, shown: Sequence[Section], generated: str | None, trace: Tracer
) -> str:
    """The page as CommonMark with tables; no text of the project becomes markup in it.

    Args:
        title: of the page.
        shown: its sections.
        generated: when, or None.
        trace: finds file, run and checksum of a source.
    """
    lines = [f"# {escape(title)}: terraloom report", ""]
    if generated:
        lines += [f"generated {escape(generated)}", ""]
    for place, section in enumerate(shown, start=1):
        lines += _section(section, f"## {place}. {escape(section.title)}", trace)
    text = "\n".join(lines).rstrip() + "\n"
    return text.encode("utf-8", "replace").decode("utf-8")


def escape(text: str) -> str:
    r"""Text as Markdown that shows just it, as a paragraph, a heading or an item.

    Example:
        >>> escape("1. a|b <i>*c*</i>")
        '1\\. a\\|b &lt;i&gt;\\*c\\*&lt;/i&gt;'
    """
    escaped = escape_inside(text)
    first = _FIRST.match(escaped)
    if first is None:
        return escaped
    sign = first[0]
    # A digit cannot be escaped; the stop or bracket behind it can.
    return f"{sign}\\{escaped[len(sign) :]}" if sign[0].isdigit() else f"\\{escaped}"


def escape_inside(text: str) -> str:
    """The same for text that does not begin a line, such as a table's cell."""
    line = " ".join(text.split())
    escaped = "".join(_HTML.get(letter, letter) for letter in line)
    escaped = _SPECIAL.sub(r"\\\1", escaped)
    return _ADDRESS.sub(lambda found: found[0].replace(":", "\\:").replace(".", "\\."), escaped)


def _section(section: Section, heading: str, trace: Tracer) -> Iterator[str]:
    yield from (heading, "")
    for block in section.blocks:
        yield from _block(block, trace)
    for part in section.subsections:
        yield from _section(part, f"### {escape(part.title)}", trace)


def _block(block: Block, trace: Tracer) -> Iterator[str]:
    match block:
        case TableView():
            yield from _titled(block.title)
            yield from _table(block)
        case FigureView():
            yield from _titled(block.title)
            kind = "svg" if block.drawing.svg else "png"
            yield from (f"![{escape(block.alt)}](figures/{block.name}.{kind})", "")
        case GalleryView():
            yield from _titled(block.title)
            yield from (f"![{escape(block.title)}](figures/{block.name}.png)", "")
            yield from _cards(block)
        case VerdictView():
            word = f"{escape(block.word)}. " if block.word else ""
            yield from (f"**{word}{escape(block.sentence)}**", "")
            yield from (f"Real rows: {escape(block.data)}.", "")
            yield from (f"- {escape(what)}: {escape_inside(value)}" for value, what in block.facts)
            for scope, told, sentence in block.arms:
                yield f"- *{escape(told)}* {escape(f'{scope} {sentence}')}"
            yield ""
        case PipelineView():
            for step in block.steps:
                made = step.made or "not run"
                yield f"- **{escape(step.name)}**: {escape(f'{step.does} ({step.reads}): {made}')}"
            yield ""
        case ListView():
            yield from _titled(block.title)
            yield from (f"- {escape(item)}" for item in block.items)
            yield ""
        case LegendView():
            names = (f"{escape(told)} ({escape(colour)})" for told, colour in block.entries)
            yield from ("Classes: " + ", ".join(names), "")
        case MarkedView():
            yield from (_pieces(block.pieces), "")
        case TextView():
            # A line that warns stands out, here as on the page.
            lead = "> " if block.tone in ("warning", "missing") else ""
            yield from (lead + escape(block.text), "")
    for note in getattr(block, "notes", ()):
        yield from (escape(note), "")
    if getattr(block, "sources", ()):
        yield from (f"Source: {_sources(block.sources, trace)}", "")  # type: ignore[union-attr]


def _titled(title: str) -> Iterator[str]:
    yield from (f"**{escape(title)}**", "")


def _table(table: TableView) -> Iterator[str]:
    # A table without a single row still shows its columns.
    numbers = [cell.tone == "number" for cell in (table.rows[0] if table.rows else ())]
    yield "| " + " | ".join(escape_inside(header) or " " for header in table.headers) + " |"
    rules = ["---:" if right else "---" for right in numbers] or ["---"] * len(table.headers)
    yield "| " + " | ".join(rules) + " |"
    for row in table.rows:
        yield "| " + " | ".join(_cell(cell) or " " for cell in row) + " |"
    yield ""


def _cell(cell: Cell) -> str:
    if not cell.detail:
        return escape_inside(cell.text)
    # Figures in brackets are no link, since no text of a page defines one.
    if _INTERVAL.fullmatch(cell.detail):
        return f"{escape_inside(cell.text)} {cell.detail}"
    return f"{escape_inside(cell.text)} ({escape_inside(cell.detail)})".strip()


def _cards(gallery: GalleryView) -> Iterator[str]:
    for card in gallery.cards:
        rejected = ", rejected" if card.tone == "bad" else ""
        told = "; ".join(escape(line) for line in card.lines)
        yield f"- {escape(card.title)}{rejected}" + (f": {told}" if told else "")
        yield from (f"  - {_pieces(item)}" for item in card.items)
    yield ""


def _pieces(pieces: Sequence[Marked]) -> str:
    """Marked text: emphasis for the piece, a sign behind it for the verdict."""
    found = []
    for piece in pieces:
        # Spaces stand outside of emphasis, or it would not be read as such.
        inner = escape(piece.text)
        before = " " if piece.text[:1].isspace() else ""
        after = " " if piece.text[-1:].isspace() else ""
        if piece.tone and inner:
            inner = f"*{inner}*{_MARKS[piece.tone]}"
        found.append(f"{before}{inner}{after}")
    return "".join(found).strip()


def _sources(names: Sequence[str], trace: Tracer) -> str:
    found = []
    for name in names:
        source = trace(name)
        part = f", {escape(source.part)}" if source.part else ""
        run = f" (run {source.run[:12]})" if source.run else ""
        found.append(f"{escape(source.file)}{part}{run}")
    return "; ".join(found)
