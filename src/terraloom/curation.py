"""Face of the curation stage: keep or reject each synthetic sample, with the reason."""

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from terraloom.errors import SettingsError
from terraloom.files import sha256_of_value, write_json
from terraloom.settings import CurateRule, CurateSettings
from terraloom.tables import Shard, Table, shards_of, write_table

VERDICT_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("keep", pa.bool_()),
        ("rule", pa.string()),
        ("reason", pa.string()),
        ("reviewer", pa.string()),
    ]
)


def curate_samples(
    synthetic: Table, scores: Table, folder: Path, settings: CurateSettings
) -> tuple[Table, dict[str, Any]]:
    """Judge every synthetic sample by the rules; nothing is deleted.

    Args:
        synthetic: labelled samples.
        scores: their scores, shard by shard.
        folder: receives verdicts/ and funnel.json.
        settings: rules; an empty score passes, since the rule does not apply to that sample.

    Returns:
        The verdicts, and the funnel: per origin the samples made, rejected by rule, and kept.

    Raises:
        SettingsError: a rule names a column that the scores lack.
    """
    available = (
        [name for name in pq.read_schema(scores.paths[0]).names if name != "id"]
        if scores.paths
        else []
    )
    for rule in settings.rules:
        if available and rule.column not in available:
            raise SettingsError(
                f"curate.rules names the column {rule.column!r}; scores has "
                f"{', '.join(available)}. Correct the rule, or add the scorer that makes it."
            )

    def judge(shard: Shard) -> pa.Table:
        rows = pq.read_table(scores.folder / shard.filename).to_pylist()
        return pa.Table.from_pylist(
            [{"id": row["id"], **verdict(row, settings.rules)} for row in rows],
            schema=VERDICT_SCHEMA,
        )

    verdicts = write_table(
        folder / "verdicts",
        shards_of(scores),
        judge,
        settings_sha256=sha256_of_value(settings.model_dump(mode="json")),
        inputs={"scores": scores.sha256},
        description="curating samples",
        unit="samples",
    )
    funnel: dict[str, Any] = {}
    origins = synthetic.read(["id", "origin"]).to_pylist()
    for row, judged in zip(origins, verdicts.read().to_pylist(), strict=True):
        entry = funnel.setdefault(
            row["origin"],
            {"made": 0, "rejected": {rule_name(rule): 0 for rule in settings.rules}, "kept": 0},
        )
        entry["made"] += 1
        if judged["keep"]:
            entry["kept"] += 1
        else:
            entry["rejected"][judged["rule"]] += 1
    write_json(folder / "funnel.json", funnel)
    return verdicts, funnel


def rule_name(rule: CurateRule) -> str:
    """A rule as text, such as "agreement ≥ 0.6"."""
    parts = []
    if rule.min is not None:
        parts.append(f"{rule.column} ≥ {rule.min:g}")
    if rule.max is not None:
        parts.append(f"{rule.column} ≤ {rule.max:g}")
    return " and ".join(parts)


def verdict(scores: dict[str, Any], rules: tuple[CurateRule, ...]) -> dict[str, Any]:
    """Keep or reject one sample: the first rule that fails gives rule and reason."""
    for rule in rules:
        value = scores[rule.column]
        if value is None:
            continue
        if (rule.min is not None and value < rule.min) or (
            rule.max is not None and value > rule.max
        ):
            return {
                "keep": False,
                "rule": rule_name(rule),
                "reason": f"{rule.column} is {value:.3f}",
                "reviewer": "rules",
            }
    return {"keep": True, "rule": None, "reason": None, "reviewer": "rules"}
