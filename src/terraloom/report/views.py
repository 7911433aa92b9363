"""What sections are made of: values that the template draws, and that escape themselves there."""

import base64
from dataclasses import dataclass, field
from typing import Final, Literal

_MEDIA: Final = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
"""What a picture's first bytes say of it."""


@dataclass(frozen=True)
class Drawing:
    """A figure as it is drawn."""

    png: bytes = field(repr=False)
    svg: str = field(default="", repr=False)
    """The same in shapes and letters; empty where pixels are the message."""


@dataclass(frozen=True)
class Source:
    """Where figures came from: a file of the project, and the run that made it."""

    file: str
    """Path inside the project folder, or a publication."""
    part: str = ""
    """Which part of the file."""
    run: str = ""
    """Key of the stage's settings and inputs, as its record holds it; empty where there is none."""
    sha256: str = ""
    """Of the file, or of a table's manifest; empty for what is no single file."""


@dataclass(frozen=True)
class Cell:
    """One table cell."""

    text: str
    detail: str = ""
    """A second, smaller line, such as an interval."""
    tone: str = ""
    """CSS class: "number", "name", "good", "bad", "plain"."""


@dataclass(frozen=True)
class TableView:
    """A table with the files that its numbers came from."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    folded: bool = False
    """Closed until the reader opens it: for long lists that few need."""
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class FigureView:
    """A drawn figure: part of the page, and saved as figures/<name>.png (and .svg)."""

    name: str
    title: str
    alt: str
    drawing: Drawing
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    pixelated: bool = False
    """Enlarge without smoothing: the pixels are the message."""
    kind: Literal["figure"] = "figure"

    @property
    def uri(self) -> str:
        """The picture as a data address."""
        return data_uri(self.drawing.png)


@dataclass(frozen=True)
class Picture:
    """One small picture of a card."""

    heading: str
    alt: str
    data: bytes = field(repr=False)

    @property
    def uri(self) -> str:
        """The picture as a data address."""
        return data_uri(self.data)


@dataclass(frozen=True)
class Marked:
    """A piece of text, marked or plain."""

    text: str
    tone: str = ""
    """CSS class: "supported", "contradicted", "not-checkable"; empty for plain text."""
    detail: str = ""
    """Shown when the reader points at it."""


@dataclass(frozen=True)
class Card:
    """Pictures that belong together, with lines of text below."""

    title: str
    pictures: tuple[Picture, ...]
    lines: tuple[str, ...] = ()
    items: tuple[tuple[Marked, ...], ...] = ()
    """Captions, as a numbered list."""
    tone: str = ""


@dataclass(frozen=True)
class GalleryView:
    """Cards side by side; saved as one contact sheet figures/<name>.png."""

    name: str
    title: str
    cards: tuple[Card, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    wide: bool = False
    kind: Literal["gallery"] = "gallery"


@dataclass(frozen=True)
class LegendView:
    """Class names with their colours, as "#rrggbb"."""

    entries: tuple[tuple[str, str], ...]
    kind: Literal["legend"] = "legend"


@dataclass(frozen=True)
class TextView:
    """A paragraph."""

    text: str
    tone: Literal["", "missing", "warning", "small"] = ""
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class MarkedView:
    """A paragraph of marked pieces."""

    pieces: tuple[Marked, ...]
    kind: Literal["marked"] = "marked"


@dataclass(frozen=True)
class ListView:
    """Statements, each of which stands for itself."""

    title: str
    items: tuple[str, ...]
    sources: tuple[str, ...] = ()
    tone: Literal["", "warning"] = ""
    kind: Literal["list"] = "list"


@dataclass(frozen=True)
class VerdictView:
    """The answer: one sentence for the run, then one line per arm."""

    sentence: str
    word: str
    arms: tuple[tuple[str, str, str], ...]
    """(architecture, word, sentence) of every other verdict."""
    data: str
    """What the real rows are, in their publishers' words."""
    facts: tuple[tuple[str, str], ...]
    """Sizes of the design: (number, what it counts)."""
    sources: tuple[str, ...]
    kind: Literal["verdict"] = "verdict"


@dataclass(frozen=True)
class StepView:
    """One stage in the pipeline's drawing."""

    name: str
    does: str
    made: str
    """What it made, in numbers; empty where it has not run."""
    reads: str
    """Which roles of the data it may look at."""


@dataclass(frozen=True)
class PipelineView:
    """The stages in order."""

    steps: tuple[StepView, ...]
    sources: tuple[str, ...]
    kind: Literal["pipeline"] = "pipeline"


Block = (
    TableView
    | FigureView
    | GalleryView
    | LegendView
    | TextView
    | MarkedView
    | ListView
    | VerdictView
    | PipelineView
)


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    id: str
    title: str
    blocks: tuple[Block, ...]
    subsections: tuple["Section", ...] = ()


def missing(stage: str, what: str) -> TextView:
    """The line of a section whose stage has not run."""
    return TextView(f"Not run: stage {stage} has left nothing here, so there is no {what}.",
                    "missing")  # fmt: skip


def data_uri(picture: bytes) -> str:
    """A PNG or JPEG as an address that needs no request."""
    media = next(kind for mark, kind in _MEDIA.items() if picture.startswith(mark))
    return f"data:{media};base64," + base64.b64encode(picture).decode("ascii")
