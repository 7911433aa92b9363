"""One round in one scope: make what was ordered, label, caption, score, keep or reject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from terraloom import families
from terraloom.captioning import caption_samples
from terraloom.curation import curate_samples
from terraloom.demand.chains import Chain
from terraloom.demand.folds import Scope
from terraloom.demand.planning import label_of
from terraloom.errors import SettingsError
from terraloom.files import sha256_of_value
from terraloom.generating import synthesize
from terraloom.labelling import label_samples, measure_yardstick
from terraloom.sample_plan import Order
from terraloom.scorers._face import Scorer
from terraloom.scoring import score_samples
from terraloom.seeds import derive_seed
from terraloom.settings import CurateSettings, Settings, member_settings
from terraloom.stages import Context
from terraloom.tables import MANIFEST, Table

_WRITER: Final = "template"
"""Captions of a round are there to be scored; a model is not asked for them."""


@dataclass(frozen=True)
class Accepted:
    """What a round made in one scope."""

    samples: Table
    """All of them, labelled."""
    kept: tuple[str, ...]
    """Ids that curation keeps, in id order."""

    def by_label(self, ids: Sequence[str] | None = None) -> Mapping[int, int]:
        """Samples per weak class that was asked for; of all that were made, or of some."""
        counts: dict[int, int] = {}
        for name in self.samples.read(["id"])["id"].to_pylist() if ids is None else ids:
            counts[label_of(name)] = counts.get(label_of(name), 0) + 1
        return counts


def make_round(
    context: Context,
    scope: Scope,
    chain: Chain,
    orders: Sequence[Order],
    curate: CurateSettings,
    folder: Path,
    seed: int,
) -> Accepted:
    """Carry the orders of a round out; what stands in `folder` is kept.

    Args:
        context: of the project.
        scope: what the chain was fitted on.
        chain: generators and labeller.
        orders: in id order.
        curate: rules and quotas.
        folder: of this round in this scope; receives samples/, label/, captions/, score/, curate/.
        seed: of samples and scores.
    """
    if (folder / "curate" / "verdicts" / MANIFEST).exists():
        return _stored(folder)
    settings = context.settings
    made = synthesize(
        chain.generators,
        scope.train,
        folder / "samples",
        classes=context.classes,
        settings=settings.generate,
        seed=derive_seed(seed, "samples"),
        orders=orders,
    )
    samples, labels = label_samples(
        made,
        chain.labeller,
        folder / "label",
        classes=context.classes,
        settings=settings.label,
        labeller_sha256=chain.labeller_sha256,
    )
    yardstick = measure_yardstick(
        scope.val,
        chain.labeller,
        settings.generate.size,
        settings=settings.label,
        # Every round is held to the same windows.
        seed=derive_seed(context.seed, "labels"),
    )
    writer = families.member("captioners", _WRITER).build(
        member_settings(settings, "captioners", _WRITER),
        context.classes,
        derive_seed(context.seed, "demand captions"),
    )
    digest = sha256_of_value({_WRITER: settings.options("captioners", _WRITER)})
    captions = {
        kind: caption_samples(
            table,
            writer,
            where,
            settings_sha256=digest,
            description=f"{scope.name}, captioning {kind} samples",
        )
        for kind, table, where in (
            # Those of real rows serve every round.
            ("real", scope.real, scope.folder / "captions"),
            ("synthetic", samples, folder / "captions"),
        )
    }
    scorers = curating_scorers(settings, curate, context, derive_seed(seed, "scores"))
    score_samples(
        scope.real,
        samples,
        labels,
        captions,
        scorers,
        folder / "score",
        classes=context.classes,
        segmenter=lambda: chain.features,
        settings_sha256=sha256_of_value(list(scorers)),
        seed=derive_seed(seed, "scores"),
    )
    curate_samples(
        samples,
        Table.open(folder / "score" / "scores" / "synthetic"),
        folder / "curate",
        curate,
        context.classes.names,
        yardstick,
    )
    return _stored(folder)


def _stored(folder: Path) -> Accepted:
    """What a finished round left."""
    rows = Table.open(folder / "curate" / "verdicts").read(["id", "keep"]).to_pylist()
    kept = tuple(row["id"] for row in rows if row["keep"])
    return Accepted(Table.open(folder / "label" / "samples"), kept)


def curating_scorers(
    settings: Settings, curate: CurateSettings, context: Context, seed: int
) -> dict[str, Scorer]:
    """The scorers whose columns a rule or quota names; no others are run in a round.

    Raises:
        SettingsError: a column that no scorer of the project makes.
    """
    wanted = {rule.column for rule in curate.rules} | {quota.by for quota in curate.quotas}
    found: dict[str, Scorer] = {}
    columns: list[str] = []
    # The project may go without "agreement", which the quotas of a round rank by.
    for name in dict.fromkeys((*settings.score.scorers, "agreement")):
        scorer: Scorer = families.member("scorers", name).build(
            member_settings(settings, "scorers", name), context.classes, seed
        )
        own = {column.name for column in scorer.columns}
        columns += sorted(own)
        if own & wanted:
            found[name] = scorer
    if missing := sorted(wanted - set(columns)):
        raise SettingsError(
            f"curate names the column {missing[0]!r}; the scorers of this project make "
            f"{', '.join(columns)}. Correct the rule, or add the scorer that makes it."
        )
    return found
