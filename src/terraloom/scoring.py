"""Face of the scoring stage: one row of scores per sample, one summary per scorer."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from terraloom.claiming import claim_captions
from terraloom.classes import ClassTable
from terraloom.errors import SettingsError
from terraloom.files import read_json, write_json
from terraloom.progress import meter
from terraloom.scorers._face import Corpus, Part, Scorer
from terraloom.segmenting import TrainedSegmenter
from terraloom.tables import Shard, Table, shards_of, write_table


def score_samples(
    real: Table,
    synthetic: Table,
    labels: Table,
    captions: Mapping[str, Table],
    scorers: Mapping[str, Scorer],
    folder: Path,
    *,
    classes: ClassTable,
    segmenter: Callable[[], TrainedSegmenter],
    settings_sha256: str,
    seed: int,
) -> dict[str, Any]:
    """Check the claims of every caption, score every sample, then the corpus.

    Args:
        real: sample table.
        synthetic: labelled sample table.
        labels: label figures of `synthetic`, shard by shard.
        captions: by kind, "real" and "synthetic".
        scorers: by name; their columns must differ.
        folder: receives claims/ and scores/, each with real/ and synthetic/, and summary.json.
        classes: class table.
        segmenter: loads the labeller, called only by scorers that need it.
        settings_sha256: of the scorers' settings.
        seed: of draws.

    Returns:
        Summary by scorer name.

    Raises:
        SettingsError: two scorers add a column of one name.
    """
    summary_path = folder / "summary.json"
    segmenter = cache(segmenter)
    columns = [column for scorer in scorers.values() for column in scorer.columns]
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise SettingsError(f"two scorers add one column; columns are {', '.join(names)}.")
    schema = pa.schema([("id", pa.string()), *((name, pa.float32()) for name in names)])
    claims = {
        kind: claim_captions(
            samples,
            captions[kind],
            classes,
            folder / "claims" / kind,
            description=f"checking captions of {kind} samples",
        )
        for kind, samples in (("real", real), ("synthetic", synthetic))
    }
    scores = {}
    for kind, samples in (("real", real), ("synthetic", synthetic)):

        def score(shard: Shard, kind: str = kind, samples: Table = samples) -> pa.Table:
            part = Part(
                samples.folder / shard.filename,
                captions[kind].folder / shard.filename,
                labels.folder / shard.filename if kind == "synthetic" else None,
                classes,
                real,
                segmenter,
                folder,
                captions["real"],
                claims[kind].folder / shard.filename,
            )
            values: dict[str, Any] = {"id": [row["id"] for row in part.rows]}
            for scorer in scorers.values():
                values.update(scorer.score(part))
            return pa.table(values, schema=schema)

        scores[kind] = write_table(
            folder / "scores" / kind,
            shards_of(samples),
            score,
            settings_sha256=settings_sha256,
            inputs={
                "samples": samples.sha256,
                "captions": captions[kind].sha256,
                "claims": claims[kind].sha256,
            },
            description=f"scoring {kind} samples",
            unit="samples",
        )
    write_json(
        folder / "columns.json",
        {column.name: {"unit": column.unit, "meaning": column.meaning} for column in columns},
    )
    corpus = Corpus(
        real, synthetic, captions, claims, labels, scores, classes, segmenter, folder, seed
    )
    # Summaries are kept one by one: a killed run repeats only the one that it was at.
    partial_path = folder / "summary.part.json"
    summary: dict[str, Any] = read_json(partial_path) if partial_path.exists() else {}
    with meter("summing up", len(scorers), "scorers", len(summary)) as progress:
        for name, scorer in scorers.items():
            if name not in summary:
                summary[name] = scorer.summarise(corpus)
                write_json(partial_path, summary)
                progress.advance(note=name)
    write_json(summary_path, summary)
    partial_path.unlink(missing_ok=True)
    return summary
