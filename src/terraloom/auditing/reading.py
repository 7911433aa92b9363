"""Caption files in the layouts that people publish, recognised by what they hold.

JSON: a list of {filename, captions | sentences | caption} (RSICD style), Karpathy's {images:
[{filename, sentences}]}, COCO's {images, annotations}, {image: [captions]}, and one object per
line. CSV: one row per image with a column per writer (ARAS400k style), or one row per caption.
Folder: a captions table of terraloom. Texts are data: nothing in them is run, followed or lost.
"""

import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow.parquet as pq

from terraloom.errors import CaptionFileError
from terraloom.tables import MANIFEST, Table

_IMAGE_KEYS: Final = ("filename", "file_name", "image", "image_id", "imgid", "id", "name", "path")
_TEXT_KEYS: Final = ("caption", "text", "raw", "sentence", "captions", "sentences", "texts")
_WRITER_KEYS: Final = ("writer", "model", "annotator")
_TEXT_COLUMN: Final = re.compile(
    r"^(?:caption|captions|text|raw|sentence|sent|comment|description|desc)(?:[_ .-]?\d+)?$"
    r"|^(?:caption|hybrid|vision|text|language)[_-].+$",
    re.IGNORECASE,
)
_SPLIT_COLUMN: Final = "split"
_FAILED: Final = re.compile(r"^\s*(?:ERROR\b|\[?(?:error|failed)\]?\s*:)")
_LAYOUTS: Final = (
    "a JSON list of {filename, captions}, Karpathy or COCO captions JSON, {image: [captions]}, one "
    "JSON object per line, a CSV with a caption column, or a captions table of terraloom"
)
_PLACES: Final = 5


class CaptionRow(NamedTuple):
    """One caption as it stands in the file."""

    image: str
    writer: str
    """Column or field that tells who wrote it; empty where the file does not say."""
    text: str


@dataclass
class CaptionFile:
    """A caption file: what it is, and its captions as often as they are asked for."""

    path: Path
    layout: str
    """In words, such as "COCO captions JSON"."""
    _read: Callable[[], Iterator[tuple[str, str, Any]]] = field(repr=False)
    columns: tuple[str, ...] = ()
    """Of a CSV file."""
    names: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of COCO captions: name of each image by its number, which other files may call it by."""
    image_column: str | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    """Entries that are no captions, by reason; of the last reading."""
    left_out_at: dict[str, list[str]] = field(default_factory=dict)
    """Images of the first few of them."""

    def rows(self) -> Iterator[CaptionRow]:
        """Every caption in order; entries that are none are counted in `left_out`."""
        self.left_out.clear()
        self.left_out_at.clear()
        for image, writer, text in self._read():
            if not isinstance(text, str):
                self._leave_out("not a text", image)
            elif not text.strip():
                self._leave_out("empty", image)
            elif _FAILED.match(text):
                self._leave_out("an error message in place of a caption", image)
            else:
                yield CaptionRow(image, writer, text)

    def entries(self) -> Iterator[tuple[str, Any]]:
        """(image, value) of every entry in order, captions or not: also empty ones."""
        for image, _, text in self._read():
            yield image, text

    def cells(self, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """(image, values of these columns) of every row of a CSV file."""
        assert self.image_column is not None
        for row in _csv_rows(self.path):
            yield row.get(self.image_column) or "", [row.get(name) or "" for name in columns]

    def _leave_out(self, reason: str, image: str) -> None:
        self.left_out[reason] += 1
        if self.left_out[reason] <= _PLACES:
            self.left_out_at.setdefault(reason, []).append(image)


def open_captions(
    path: Path,
    *,
    text_columns: Sequence[str] | None = None,
    image_column: str | None = None,
) -> CaptionFile:
    """Recognise a caption file's layout.

    Args:
        path: file, or folder of a captions table.
        text_columns: of a CSV file; left out, those that are named like captions.
        image_column: of a CSV file; left out, the first that is named like an image.

    Raises:
        CaptionFileError: there is no such file, it cannot be read as text, or its layout is none
            that is known; the message says what was found.
    """
    if not path.exists():
        raise CaptionFileError(f"there is no file {path}. Give {_LAYOUTS}.")
    if path.is_dir():
        return _open_table(path)
    if path.stat().st_size == 0:
        raise CaptionFileError(f"{path} is empty. Give {_LAYOUTS}.")
    start = _first_signs(path)
    if start in ("{", "["):
        return _open_json(path)
    return _open_csv(path, text_columns, image_column)


def _first_signs(path: Path) -> str:
    with open(path, "rb") as handle:
        head = handle.read(4096)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CaptionFileError(
            f"{path} is UTF-16, not UTF-8. Write it again, as with: iconv -f UTF-16 -t UTF-8"
        )
    if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"PAR1")) or b"\0" in head:
        raise CaptionFileError(f"{path} is not a text file. Unpack it first, or give {_LAYOUTS}.")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1].decode("ascii", "replace")


# ------------------------------------------------------------------------------------------- JSON


def _open_json(path: Path) -> CaptionFile:
    value = _load_json(path)
    if isinstance(value, _Lines):
        return CaptionFile(path, "JSON objects, one per line", lambda: _of_records(path, value))
    if isinstance(value, list):
        return CaptionFile(path, "JSON list of records", lambda: _of_records(path, value))
    images, annotations = value.get("images"), value.get("annotations")
    if isinstance(annotations, list):
        names = _coco_names(images if isinstance(images, list) else [])
        return CaptionFile(
            path, "COCO captions JSON", lambda: _of_coco(path, annotations, names), names=names
        )
    if isinstance(images, list):
        return CaptionFile(path, "Karpathy JSON", lambda: _of_records(path, images))
    if value and all(isinstance(entry, list | str) for entry in value.values()):
        return CaptionFile(path, "JSON of captions by image", lambda: _of_mapping(value))
    raise CaptionFileError(
        f"{path} is JSON with the keys {_told(list(value))}, which is no layout that is known. "
        f"Give {_LAYOUTS}."
    )


class _Lines(list[Any]):
    """Values of a file with one JSON value per line."""


def _load_json(path: Path) -> Any:  # noqa: ANN401 - JSON may hold anything
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_utf8(path, data, error) from error
    del data
    try:
        return json.loads(text)
    except RecursionError as error:
        raise CaptionFileError(f"{path} is nested too deeply to be a caption file.") from error
    except json.JSONDecodeError as error:
        lines = _json_lines(text)
        if lines is not None:
            return lines
        raise CaptionFileError(
            f"{path} is not whole JSON: {error.msg} in line {error.lineno}, column {error.colno}. "
            "Write or fetch it again."
        ) from error
    except ValueError as error:  # a whole number of thousands of digits
        raise CaptionFileError(f"{path} holds a value that is no caption: {error}.") from error


def _json_lines(text: str) -> _Lines | None:
    lines = _Lines()
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict):
            return None
        lines.append(value)
    return lines if len(lines) > 1 else None


def _of_records(path: Path, records: Sequence[Any]) -> Iterator[tuple[str, str, Any]]:
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise CaptionFileError(
                f"{path}: entry {number} is {_kind(record)}, not an object with an image and its "
                f"captions. Give {_LAYOUTS}."
            )
        image = _first_of(record, _IMAGE_KEYS)
        texts = _first_of(record, _TEXT_KEYS)
        if image is None or texts is None:
            raise CaptionFileError(
                f"{path}: entry {number} has the keys {_told(list(record))}; one of "
                f"{_told(_IMAGE_KEYS)} and one of {_told(_TEXT_KEYS)} are needed."
            )
        writer = _first_of(record, _WRITER_KEYS)
        own = "" if writer is None else str(writer)
        for text in texts if isinstance(texts, list) else [texts]:
            if isinstance(text, Mapping):  # Karpathy: {"raw": …, "tokens": …}
                inner = _first_of(text, _WRITER_KEYS)
                yield str(image), own if inner is None else str(inner), _first_of(text, _TEXT_KEYS)
            else:
                yield str(image), own, text


def _coco_names(images: Sequence[Any]) -> dict[str, str]:
    names = {}
    for image in images:
        if isinstance(image, Mapping) and "id" in image:
            names[str(image["id"])] = str(image.get("file_name", image["id"]))
    return names


def _of_coco(
    path: Path, annotations: Sequence[Any], names: Mapping[str, str]
) -> Iterator[tuple[str, str, Any]]:
    for number, entry in enumerate(annotations):
        if not isinstance(entry, Mapping) or "image_id" not in entry or "caption" not in entry:
            found = _told(list(entry)) if isinstance(entry, Mapping) else _kind(entry)
            raise CaptionFileError(
                f"{path}: annotation {number} is no caption ({found}); image_id and caption are "
                "needed. Instances or keypoints of COCO hold no captions."
            )
        image = str(entry["image_id"])
        writer = _first_of(entry, _WRITER_KEYS)
        yield names.get(image, image), "" if writer is None else str(writer), entry["caption"]


def _of_mapping(value: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for image, texts in value.items():
        for text in texts if isinstance(texts, list) else [texts]:
            yield image, "", text


def _first_of(record: Mapping[str, Any], keys: Sequence[str]) -> Any:  # noqa: ANN401
    return next((record[key] for key in keys if key in record), None)


# -------------------------------------------------------------------------------------------- CSV


def _open_csv(
    path: Path, text_columns: Sequence[str] | None, image_column: str | None
) -> CaptionFile:
    header = _csv_header(path)
    lowered = {name.casefold(): name for name in reversed(header)}
    image = image_column
    if image is None:
        image = next((lowered[key] for key in _IMAGE_KEYS if key in lowered), None)
    texts = list(text_columns or [name for name in header if _TEXT_COLUMN.match(name)])
    absent = [name for name in [*texts, *([image] if image else [])] if name not in header]
    if absent:
        raise CaptionFileError(f"{path} has no column {absent[0]!r}; it has {_told(header)}.")
    if image is None or not texts:
        lacking = "an image" if image is None else "a caption"
        option = "--image-column" if image is None else "--text-columns"
        raise CaptionFileError(
            f"{path} is read as CSV, and no column looks like {lacking}; it has {_told(header)}. "
            f"Name it with {option}, or give {_LAYOUTS}."
        )
    writer = next((lowered[key] for key in _WRITER_KEYS if key in lowered), None)
    many = len(texts) > 1
    key = image

    def read() -> Iterator[tuple[str, str, Any]]:
        for row in _csv_rows(path):
            own = row.get(writer) or "" if writer is not None else ""
            for column in texts:
                yield row.get(key) or "", column if many else own, row.get(column)

    numbered = many and len({_unnumbered(name) for name in texts}) == 1
    if numbered:  # caption_1 … caption_5 are places in a list, not writers

        def read() -> Iterator[tuple[str, str, Any]]:
            for row in _csv_rows(path):
                for column in texts:
                    yield row.get(key) or "", row.get(writer) or "" if writer else "", row[column]

    layout = f"CSV, captions in {_told(texts)}"
    return CaptionFile(path, layout, read, columns=tuple(header), image_column=image)


def _unnumbered(name: str) -> str:
    return re.sub(r"[_ .-]?\d+$", "", name)


def _csv_header(path: Path) -> list[str]:
    header = next(_csv_lists(path), None)
    if not header:
        raise CaptionFileError(f"{path} holds no row. Give {_LAYOUTS}.")
    return [name.strip() for name in header]


def _csv_rows(path: Path) -> Iterator[dict[str, str | None]]:
    rows = _csv_lists(path)
    header = [name.strip() for name in next(rows, [])]
    for number, values in enumerate(rows, start=2):
        if not values:
            continue
        if len(values) != len(header):
            raise CaptionFileError(
                f"{path}: row {number} has {len(values)} values, the header {len(header)}. Quote "
                "texts that hold commas or line breaks."
            )
        yield dict(zip(header, values, strict=True))


def _csv_lists(path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a caption may be as long as it likes
    with open(path, encoding="utf-8-sig", newline="") as handle:
        delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
        rows = csv.reader(handle, delimiter=delimiter, strict=True)
        while True:
            try:
                values = next(rows)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                raise _no_utf8(path, path.read_bytes(), error) from error
            except csv.Error as error:
                raise CaptionFileError(
                    f"{path} is not a whole CSV file: {error}, near line {rows.line_num}. Write or "
                    "fetch it again."
                ) from error
            yield values


# ------------------------------------------------------------------------------------------ table


def _open_table(path: Path) -> CaptionFile:
    if not (path / MANIFEST).exists():
        raise CaptionFileError(
            f"{path} is a folder without {MANIFEST}, so it is no finished captions table. Give "
            "PROJECT/caption/real or PROJECT/caption/synthetic, or a file."
        )
    table = Table.open(path)
    columns = ["id", "writer", "text"]
    held = pq.read_schema(table.paths[0]).names if table.paths else []
    absent = [name for name in columns if name not in held]
    if absent:
        raise CaptionFileError(
            f"{path} is a table without the column {absent[0]!r}, so it holds no captions. Give "
            "PROJECT/caption/real or PROJECT/caption/synthetic."
        )

    def read() -> Iterator[tuple[str, str, Any]]:
        for batch in table.batches(columns, rows=4096):
            yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)

    return CaptionFile(path, "captions table of terraloom", read)


def _no_utf8(path: Path, data: bytes, error: UnicodeDecodeError) -> CaptionFileError:
    at = error.start
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as whole:  # of the file, not of the piece that was being read
        at = whole.start
    line = data.count(b"\n", 0, at) + 1
    return CaptionFileError(
        f"{path} is not UTF-8: byte 0x{data[at]:02x} in line {line} (byte {at}). Write it again, "
        "as with: iconv -f LATIN1 -t UTF-8"
    )


def _told(names: Sequence[str]) -> str:
    shown = ", ".join(str(name)[:40] for name in names[:8])
    return f"{shown}, …" if len(names) > 8 else shown or "none"


def _kind(value: object) -> str:
    names = {list: "a list", str: "a text", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
