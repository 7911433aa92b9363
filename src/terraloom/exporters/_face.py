"""The face of an exporter."""

from pathlib import Path
from typing import Protocol

from terraloom.tables import Table


class Exporter(Protocol):
    """Writes samples in another layout."""

    def export(
        self,
        real: Table,
        synthetic: Table | None,
        kept: frozenset[str],
        captions: dict[str, Table],
        folder: Path,
    ) -> int:
        """Write real samples and the kept synthetic ones into `folder`.

        Args:
            real: sample table.
            synthetic: labelled sample table, or None.
            kept: ids of synthetic samples that curation kept.
            captions: by kind, "real" and "synthetic", as far as written.
            folder: empty or new.

        Returns:
            Number of samples written.
        """
