"""Contradicted captions go back to their writer, then to the grammar; every step is counted.

A check reads a caption against its sample's mask. What it contradicts is told to the writer in
words (the new caption's record says that it saw feedback), a few times at most; what is still
contradicted then is replaced, or kept and counted. Rates before repair, after it, and of what was
replaced are three figures, never one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import pyarrow as pa

from terraloom.captioners._face import (
    Caption,
    Captioner,
    Failure,
    ModelCaptioner,
    Rewrite,
    Scene,
)
from terraloom.claims import check_caption, feedback
from terraloom.classes import ClassTable
from terraloom.facts import Facts, measure_facts
from terraloom.types import LabelMask

Ended = Literal["as written", "repaired", "replaced", "contradicted", "failed", "filled"]
"""as written: not contradicted at first; repaired: not after feedback; replaced: by the grammar;
contradicted: kept although it is; failed: there is no caption; filled: by the grammar instead."""

Check = Callable[[str, Scene], str | None]
"""Reads a caption against its whole scene; what contradicts the mask, in words for the writer, or
None."""

REPAIR_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("index", pa.int32()),
        ("ended", pa.string()),
        ("rounds", pa.int32()),
        ("contradicted_first", pa.bool_()),
        ("contradicted_last", pa.bool_()),
        ("rewrite_failed", pa.bool_()),
        ("first_text", pa.string()),
        ("feedback", pa.string()),
    ]
)
"""One row per caption that a model was asked for."""


@dataclass(frozen=True)
class Care:
    """What becomes of captions that are contradicted or could not be had."""

    check: Check | None
    """None checks nothing."""
    rounds: int
    """How often a contradicted caption goes back to its writer."""
    substitute: Captioner
    """Writes what replaces others, from the mask alone."""
    contradicted: Literal["replace", "keep"] = "replace"
    """What becomes of captions that are contradicted after the last round."""
    failed: Literal["leave", "replace"] = "leave"
    """What becomes of captions that could not be had; they stay in `errors/` in any case."""


@dataclass(slots=True)
class Repaired:
    """One caption and how it came through the checks."""

    caption: Caption | None
    """What goes into the table; None where there is none."""
    failure: Failure | None
    """Why the model's caption, or its rewrite, could not be had, where it could not."""
    ended: Ended
    rounds: int = 0
    """Times that it went back."""
    contradicted_first: bool | None = None
    """Of the model's first text; None where nothing was checked."""
    contradicted_last: bool | None = None
    """Of the model's last text, before anything was replaced."""
    first_text: str | None = None
    """The model's first text where it was contradicted."""
    feedback: str | None = None
    """What the writer was last told, or would have been."""
    rewrite_failed: bool = False
    """The writer failed at a rewrite; `failure` tells why, and it was not asked again."""


def claims_check(classes: ClassTable) -> Check:
    """Contradicts a caption where the claims that it makes do not hold on the mask.

    Args:
        classes: the table that masks are of.
    """
    measured: list[tuple[LabelMask, Facts]] = []

    def check(text: str, scene: Scene) -> str | None:
        if scene.labels is None:
            raise ValueError(f"{scene.sample_id}: captions are checked on the mask, which is None")
        # The captions of a scene come one after the other; its facts are measured once.
        if not measured or measured[0][0] is not scene.labels:
            facts = measure_facts(scene.labels, classes, compass=scene.compass)
            measured[:] = [(scene.labels, facts)]
        checked = check_caption(text, measured[0][1], classes)
        return feedback(checked) if checked.is_contradicted else None

    return check


def repair_captions(
    written: Sequence[Sequence[Caption | Failure]],
    scenes: Sequence[Scene],
    captioner: ModelCaptioner,
    care: Care,
) -> list[list[Repaired]]:
    """Check what a model wrote, send back what is contradicted, replace what stays so.

    Args:
        written: captions and failures of each scene.
        scenes: whole, in the same order; the writer is handed only what it declares.
        captioner: who wrote them.
        care: check, rounds, and what becomes of the rest.
    """
    kept = [
        [_first(c, scene, care.check) for c in of]
        for of, scene in zip(written, scenes, strict=True)
    ]
    for number in range(1, care.rounds + 1):
        going = [
            (found, own, scene)
            for own, scene in zip(kept, scenes, strict=True)
            for found in own
            if found.contradicted_last and not found.rewrite_failed
        ]
        if not going:
            break
        _send_back(going, captioner, care.check, number)
    for own, scene in zip(kept, scenes, strict=True):
        _substitute(own, scene, care)
    return kept


def _first(caption: Caption | Failure, scene: Scene, check: Check | None) -> Repaired:
    if isinstance(caption, Failure):
        return Repaired(None, caption, "failed")
    if check is None:
        return Repaired(caption, None, "as written")
    told = check(caption.text, scene)
    if told is None:
        return Repaired(caption, None, "as written", 0, False, False)
    return Repaired(caption, None, "contradicted", 0, True, True, caption.text, told)


def _send_back(
    going: Sequence[tuple[Repaired, Sequence[Repaired], Scene]],
    captioner: ModelCaptioner,
    check: Check | None,
    number: int,
) -> None:
    """One round: all contradicted captions at once, so that the writer works on many."""
    assert check is not None
    back = []
    for found, own, scene in going:
        assert found.caption is not None
        told = replace(scene, feedback=found.feedback).only(captioner.sees)
        others = tuple(o.caption.text for o in own if o is not found and o.caption is not None)
        back.append(Rewrite(told, found.caption.index, number, found.caption.text, others))
    for (found, _, scene), new in zip(going, captioner.rewrite(back), strict=True):
        found.rounds = number
        if isinstance(new, Failure):
            # What was written stays what is judged; the model is not asked about it again.
            found.failure, found.rewrite_failed = new, True
            continue
        found.caption = new
        contradiction = check(new.text, scene)
        if contradiction is None:
            found.ended, found.contradicted_last = "repaired", False
        else:
            found.feedback = contradiction


def _substitute(own: Sequence[Repaired], scene: Scene, care: Care) -> None:
    """Put the grammar's captions where the model's are missing or contradicted, if asked to."""
    slots = [
        found
        for found in own
        if (found.ended == "contradicted" and care.contradicted == "replace")
        or (found.ended == "failed" and care.failed == "replace")
    ]
    if not slots:
        return
    texts = {found.caption.text for found in own if found.caption and found not in slots}
    offered = [
        caption
        for caption in care.substitute.write([scene.only(care.substitute.sees)])[0]
        if isinstance(caption, Caption) and caption.text not in texts
    ]
    indexes = [_index(found) for found in slots]
    # Where the grammar has fewer captions than are wanted, the rest stays as it is, and is told so.
    for found, index, caption in zip(slots, indexes, offered, strict=False):
        found.ended = "replaced" if found.ended == "contradicted" else "filled"
        found.caption = replace(caption, index=index)


def _index(found: Repaired) -> int:
    told = found.caption or found.failure
    assert told is not None
    return told.index


def repair_rows(repaired: Iterable[Repaired]) -> pa.Table:
    """Rows of the repairs table."""
    return pa.Table.from_pylist(
        [
            {
                "id": (found.caption or found.failure).sample_id,  # type: ignore[union-attr]
                "index": _index(found),
                "ended": found.ended,
                "rounds": found.rounds,
                "contradicted_first": found.contradicted_first,
                "contradicted_last": found.contradicted_last,
                "rewrite_failed": found.rewrite_failed,
                "first_text": found.first_text,
                "feedback": found.feedback,
            }
            for found in repaired
        ],
        schema=REPAIR_SCHEMA,
    )


def summarise_repairs(batches: Iterable[pa.RecordBatch]) -> dict[str, Any]:
    """Counts and rates over a repairs table, streamed.

    Returns:
        Captions asked for, written, failed, checked; contradicted before repair and after it (as
        shares of the checked ones), replaced, filled and kept although contradicted. A rate is
        None where nothing was checked.
    """
    ended: dict[str, int] = {}
    asked = checked = first = last = rounds = failed_rewrites = 0
    for batch in batches:
        for row in batch.to_pylist():
            asked += 1
            rounds += row["rounds"]
            failed_rewrites += row["rewrite_failed"]
            ended[row["ended"]] = ended.get(row["ended"], 0) + 1
            if row["contradicted_first"] is not None:
                checked += 1
                first += row["contradicted_first"]
                last += row["contradicted_last"]
    counts: Mapping[str, int] = {
        "asked": asked,
        "failed": ended.get("failed", 0) + ended.get("filled", 0),
        "checked": checked,
        "contradicted_before": first,
        "contradicted_after_repair": last,
        "repaired": ended.get("repaired", 0),
        "replaced": ended.get("replaced", 0),
        "filled": ended.get("filled", 0),
        "kept_contradicted": ended.get("contradicted", 0),
        "sent_back": rounds,
        "failed_rewrites": failed_rewrites,
    }
    rates = {
        f"{name}_rate": round(counts[name] / checked, 6) if checked else None
        for name in ("contradicted_before", "contradicted_after_repair", "replaced")
    }
    return {**counts, **rates}
