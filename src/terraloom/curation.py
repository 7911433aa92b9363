"""Face of the curation stage: keep or reject each synthetic sample, with the reason."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from terraloom.errors import SettingsError
from terraloom.files import sha256_of_value, write_json
from terraloom.settings import CurateQuota, CurateRule, CurateSettings
from terraloom.tables import Shard, Table, shards_of, write_table
from terraloom.yardstick import ASKED, FREE, Yardstick

VERDICT_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("keep", pa.bool_()),
        ("rule", pa.string()),
        ("reason", pa.string()),
        ("reviewer", pa.string()),
    ]
)

Bounds = Mapping[str, Mapping[str, float]]
"""By rule name and kind of sample: what the quantile of real images comes to."""


def curate_samples(
    synthetic: Table,
    scores: Table,
    folder: Path,
    settings: CurateSettings,
    class_names: Sequence[str] = (),
    yardstick: Yardstick | None = None,
) -> tuple[Table, dict[str, Any]]:
    """Judge every synthetic sample by the rules, then by the quotas; nothing is deleted.

    Args:
        synthetic: labelled samples.
        scores: their scores, shard by shard.
        folder: receives verdicts/, funnel.json and bounds.json.
        settings: rules; an empty score passes, since the rule does not apply to that sample. And
            quotas, which see what the rules keep.
        class_names: in label order; needed where there are quotas.
        yardstick: of real images; needed where a rule has a real_quantile.

    Returns:
        The verdicts, and the funnel: per origin the samples made, rejected by rule, and kept.

    Raises:
        SettingsError: a rule or quota names a column that the scores lack, or no class; a rule
            compares with real images in a column that they have no figure of.
    """
    available = (
        [name for name in pq.read_schema(scores.paths[0]).names if name != "id"]
        if scores.paths
        else []
    )
    asked = [("rules", rule.column) for rule in settings.rules]
    asked += [("quotas", quota.by) for quota in settings.quotas]
    for section, column in asked:
        if available and column not in available:
            raise SettingsError(
                f"curate.{section} names the column {column!r}; scores has "
                f"{', '.join(available)}. Correct the rule, or add the scorer that makes it."
            )
    bounds = _bounds(settings.rules, yardstick)
    beyond = _beyond_quotas(synthetic, scores, settings, class_names, bounds)

    def judge(shard: Shard) -> pa.Table:
        rows = pq.read_table(scores.folder / shard.filename).to_pylist()
        return pa.Table.from_pylist(
            [
                {"id": row["id"], **(beyond.get(row["id"]) or verdict(row, settings.rules, bounds))}
                for row in rows
            ],
            schema=VERDICT_SCHEMA,
        )

    verdicts = write_table(
        folder / "verdicts",
        shards_of(scores),
        judge,
        settings_sha256=sha256_of_value(settings.model_dump(mode="json")),
        inputs={"scores": scores.sha256, "bounds": sha256_of_value(bounds)},
        description="curating samples",
        unit="samples",
    )
    funnel: dict[str, Any] = {}
    names = [rule_name(rule) for rule in settings.rules]
    names += [quota_name(quota) for quota in settings.quotas]
    origins = synthetic.read(["id", "origin"]).to_pylist()
    for row, judged in zip(origins, verdicts.read().to_pylist(), strict=True):
        entry = funnel.setdefault(
            row["origin"],
            {"made": 0, "rejected": dict.fromkeys(names, 0), "kept": 0},
        )
        entry["made"] += 1
        if judged["keep"]:
            entry["kept"] += 1
        else:
            entry["rejected"][judged["rule"]] += 1
    write_json(folder / "funnel.json", funnel)
    write_json(folder / "bounds.json", bounds)
    return verdicts, funnel


def funnel_told(funnel: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line per origin; where nothing is kept, the rule that most samples fail, and ways out."""
    lines = []
    for origin, entry in funnel.items():
        line = f"{origin}: {entry['kept']} of {entry['made']} kept"
        if entry["made"] and not entry["kept"]:
            rule, count = max(entry["rejected"].items(), key=lambda item: item[1])
            line += (
                f"; {count} fail {rule}. Train the generators for longer, or loosen curate.rules "
                "if the report's rejected samples look right to you"
            )
        lines.append(line)
    return lines


def rule_name(rule: CurateRule) -> str:
    """A rule as text, such as "agreement ≥ 0.6"."""
    parts = []
    if rule.min is not None:
        parts.append(f"{rule.column} ≥ {rule.min:g}")
    if rule.real_quantile is not None:
        parts.append(f"{rule.column} ≥ quantile {rule.real_quantile:g} of real")
    if rule.max is not None:
        parts.append(f"{rule.column} ≤ {rule.max:g}")
    return " and ".join(parts)


def quota_name(quota: CurateQuota) -> str:
    """A quota as text, such as "at most 500 of water, by agreement"."""
    order = ", lowest first" if quota.lowest_first else ""
    return f"at most {quota.most} of {quota.class_name}, by {quota.by}{order}"


def _bounds(rules: Sequence[CurateRule], yardstick: Yardstick | None) -> Bounds:
    found: dict[str, dict[str, float]] = {}
    for rule in rules:
        if rule.real_quantile is None:
            continue
        known = () if yardstick is None else yardstick.columns
        if yardstick is None or rule.column not in known:
            there = f"there are: {', '.join(known)}" if known else "none were measured"
            raise SettingsError(
                f"curate.rules compares {rule.column} with real images (real_quantile), and they "
                f"have no such figure; {there}. Give min or max instead."
            )
        values = {
            kind: yardstick.bound(rule.column, rule.real_quantile, kind) for kind in (ASKED, FREE)
        }
        found[rule_name(rule)] = {k: round(v, 6) for k, v in values.items() if v is not None}
    return found


def _beyond_quotas(
    synthetic: Table,
    scores: Table,
    settings: CurateSettings,
    class_names: Sequence[str],
    bounds: Bounds,
) -> Mapping[str, dict[str, Any]]:
    """Verdicts of the samples that the rules keep and a quota does not, by id.

    A few bytes per kept sample are held: 10⁶ of them take about 0.2 GB.
    """
    if not settings.quotas:
        return {}
    labels: dict[str, int] = {}
    for quota in settings.quotas:
        if quota.class_name not in class_names:
            raise SettingsError(
                f"curate.quotas names the class {quota.class_name!r}; there are: "
                f"{', '.join(class_names)}."
            )
        labels[quota.class_name] = list(class_names).index(quota.class_name)
    ranked: list[list[tuple[float, str]]] = [[] for _ in settings.quotas]
    for shard in shards_of(scores):
        shares = pq.read_table(synthetic.folder / shard.filename, columns=["id", "shares"])
        rows = pq.read_table(scores.folder / shard.filename).to_pylist()
        for sample, row in zip(shares.to_pylist(), rows, strict=True):
            if not any(sample["shares"]) or not verdict(row, settings.rules, bounds)["keep"]:
                continue
            largest = max(range(len(sample["shares"])), key=sample["shares"].__getitem__)
            for place, quota in zip(ranked, settings.quotas, strict=True):
                if labels[quota.class_name] == largest:
                    value = row[quota.by]
                    known = value if quota.lowest_first or value is None else -value
                    place.append((float("inf") if known is None else known, row["id"]))
    beyond: dict[str, dict[str, Any]] = {}
    for place, quota in zip(ranked, settings.quotas, strict=True):
        for rank, (_, name) in enumerate(sorted(place), start=1):
            if rank > quota.most and name not in beyond:
                beyond[name] = {
                    "keep": False,
                    "rule": quota_name(quota),
                    "reason": f"place {rank} of {len(place)}",
                    "reviewer": "quotas",
                }
    return beyond


def verdict(
    scores: dict[str, Any], rules: tuple[CurateRule, ...], bounds: Bounds | None = None
) -> dict[str, Any]:
    """Keep or reject one sample: the first rule that fails gives rule and reason.

    Args:
        scores: of the sample, by column. Without agreement it counts as made without a mask.
        rules: in order.
        bounds: of rules that compare with real images, by rule name and kind.

    Raises:
        KeyError: a rule compares with real images, and `bounds` does not hold it.
    """
    kind = FREE if scores.get("agreement") is None else ASKED
    for rule in rules:
        value = scores[rule.column]
        if value is None:
            continue
        real = None
        if rule.real_quantile is not None:
            real = (bounds or {})[rule_name(rule)].get(kind)
        least = rule.min if real is None else real
        if (least is not None and value < least) or (rule.max is not None and value > rule.max):
            beside = "" if real is None else f", the bound by real images {real:.3f}"
            return {
                "keep": False,
                "rule": rule_name(rule),
                "reason": f"{rule.column} is {value:.3f}{beside}",
                "reviewer": "rules",
            }
    return {"keep": True, "rule": None, "reason": None, "reviewer": "rules"}
