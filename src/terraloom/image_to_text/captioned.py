"""Rows with their captions, by role: what a captioner may be fitted on says so in its type."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from terraloom.caption_metrics import tokenise
from terraloom.dataset.rows import Row, TrainRows, ValRows
from terraloom.errors import NothingLeft, RoleError
from terraloom.tables import Table

Captions = Mapping[str, tuple[str, ...]]
"""Texts by id of the sample, in the order of their index."""


@dataclass(frozen=True)
class _Captioned:
    """Rows that have a caption; the others are left out."""

    rows: TrainRows | ValRows = field(repr=False)
    numbers: tuple[int, ...]
    """Places in `rows` of those with a caption."""
    texts: tuple[tuple[str, ...], ...] = field(repr=False)
    """Captions of each of them, at least one."""

    def __len__(self) -> int:
        return len(self.numbers)

    def row(self, index: int) -> Row:
        """The row at a place, 0 … len − 1."""
        return self.rows[self.numbers[index]]

    @property
    def without(self) -> int:
        """Rows that were left out for want of a caption."""
        return len(self.rows) - len(self.numbers)


@dataclass(frozen=True)
class CaptionedTrain(_Captioned):
    """Train rows and their captions; made by `captioned_train`."""

    rows: TrainRows = field(repr=False)


@dataclass(frozen=True)
class CaptionedVal(_Captioned):
    """Val rows and their captions, which choose a checkpoint; made by `captioned_val`."""

    rows: ValRows = field(repr=False)


def captioned_train(rows: TrainRows, captions: Captions) -> CaptionedTrain:
    """Train rows with their captions as targets.

    Raises:
        RoleError: the rows are of another role.
        NothingLeft: no row has a caption.
    """
    if not isinstance(rows, TrainRows):
        raise RoleError("a captioner is fitted on TrainRows only.")
    return CaptionedTrain(rows, *_with_captions(rows, captions, "train"))


def captioned_val(rows: ValRows, captions: Captions) -> CaptionedVal:
    """Val rows with their captions; errors as of `captioned_train`."""
    if not isinstance(rows, ValRows):
        raise RoleError("a captioner is steered by ValRows only.")
    return CaptionedVal(rows, *_with_captions(rows, captions, "val"))


def read_captions(table: Table, ids: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Captions of some samples from a captions table; texts without a word are left out."""
    wanted = set(ids)
    found: dict[str, list[tuple[int, str]]] = {}
    for batch in table.batches(["id", "index", "text"]):
        for row in batch.to_pylist():
            if row["id"] in wanted and tokenise(row["text"] or ""):
                found.setdefault(row["id"], []).append((row["index"], row["text"]))
    return {key: tuple(text for _, text in sorted(texts)) for key, texts in found.items()}


def _with_captions(
    rows: TrainRows | ValRows, captions: Captions, role: str
) -> tuple[tuple[int, ...], tuple[tuple[str, ...], ...]]:
    numbers, texts = [], []
    for number in range(len(rows)):
        own = captions.get(rows[number].id, ())
        if own:
            numbers.append(number)
            texts.append(tuple(own))
    if not numbers:
        raise NothingLeft(
            f"none of {len(rows)} {role} rows has a caption. Caption them first: terraloom caption"
        )
    return tuple(numbers), tuple(texts)
