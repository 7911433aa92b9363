"""Images and palette masks as PNG with an index; `[sources.folder]` reads real samples back."""

import csv
import io
from collections import defaultdict
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from terraloom.classes import ClassTable
from terraloom.exporters._face import Exporter
from terraloom.files import make_folder, write_bytes, write_json, write_text
from terraloom.progress import meter
from terraloom.tables import Table

_COLUMNS: Final = ("id", "place", "split", "origin", "parent", "image", "mask", "captions")


class Settings(BaseModel):
    """Options of this exporter."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    files_per_folder: int = Field(default=1000, ge=1)
    """Sub-folders are opened so that none holds more files."""


class FolderExporter:
    """Writes images/NNN/ID.png, masks/NNN/ID.png (label ids), index.csv and classes.json."""

    def __init__(self, settings: Settings, classes: ClassTable) -> None:
        self.settings = settings
        self.classes = classes

    def export(
        self,
        real: Table,
        synthetic: Table | None,
        kept: frozenset[str],
        captions: dict[str, Table],
        folder: Path,
    ) -> int:
        """See the face; captions of a sample are joined by a line feed in one cell."""
        from terraloom.dataset.build import classes_to_json

        texts: dict[str, list[str]] = defaultdict(list)
        for table in captions.values():
            for row in table.read(["id", "text"]).to_pylist():
                texts[row["id"]].append(row["text"])
        make_folder(folder)
        written: list[dict[str, str]] = []
        tables = [real] if synthetic is None else [real, synthetic]
        with meter("exporting", sum(t.num_rows for t in tables), "samples") as progress:
            for table in tables:
                for batch in table.batches(
                    ["id", "place", "split", "origin", "parent", "image", "mask"]
                ):
                    for row in batch.to_pylist():
                        progress.advance()
                        if row["origin"] != "real" and row["id"] not in kept:
                            continue
                        part = f"{len(written) // self.settings.files_per_folder:03d}"
                        for kind in ("image", "mask"):
                            suffix = Path(row[kind]["path"]).suffix  # .tif for more bands or bits
                            path = f"{kind}s/{part}/{row['id']}{suffix}"
                            write_bytes(folder / path, row[kind]["bytes"])
                            row[kind] = path
                        row["captions"] = "\n".join(texts[row["id"]])
                        written.append({name: row[name] or "" for name in _COLUMNS})
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(written)
        write_json(folder / "classes.json", classes_to_json(self.classes))
        write_text(folder / "index.csv", buffer.getvalue())
        return len(written)


def build(settings: Settings, classes: ClassTable) -> Exporter:
    """The exporter for a class table."""
    return FolderExporter(settings, classes)
