"""Contradicted captions go back, then give way; nothing is lost, and every rate is told apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraloom.captioners._face import Caption, Failure, Scene
from terraloom.captioners.template import Settings as TemplateSettings
from terraloom.captioners.template import build as build_template
from terraloom.captioning import (
    ERROR_SCHEMA,
    caption_samples,
    reopen_failed,
)
from terraloom.errors import DamagedTable
from terraloom.files import sha256_of
from terraloom.repairing import (
    REPAIR_SCHEMA,
    Care,
    claims_check,
    repair_captions,
    repair_rows,
    summarise_repairs,
)
from terraloom.tables import Table, plan_shards, write_table
from terraloom.testing import toy_classes, toy_pair, write_real

CLASSES = toy_classes()
TEMPLATE = build_template(TemplateSettings(), CLASSES, 0)


class Liar:
    """Writes what a plan says: a string per caption and round; "fail" fails, "lie" is false."""

    name = "liar"
    sees = frozenset({"image", "feedback"})
    seed = 0

    def __init__(self, plan):
        self.plan = plan
        """By sample id and index: what it does in round 0, 1, 2 …; the last goes on for ever."""
        self.asked = []
        self.told = []
        self.forgotten = 0

    def keep_in(self, folder): ...

    def forget_failed(self):
        self.forgotten += 1
        return 0

    def write(self, scenes):
        return [
            [self._one(s, i, 0) for i in range(len(self.plan.get(s.sample_id, ["ok"])))]
            for s in scenes
        ]

    def rewrite(self, rewrites):
        for back in rewrites:
            assert back.scene.labels is None
            self.told.append((back.scene.sample_id, back.index, back.round, back.scene.feedback))
        return [self._one(b.scene, b.index, b.round) for b in rewrites]

    def _one(self, scene, index, number):
        plans = self.plan.get(scene.sample_id, ["ok"])[index].split()
        does = plans[min(number, len(plans) - 1)]
        self.asked.append((scene.sample_id, index, number))
        if does == "fail":
            return Failure(scene.sample_id, index, 3, "it would not")
        saw = ("image", "feedback") if number else ("image",)
        text = f"{does} {scene.sample_id} {index} {number}"
        return Caption(scene.sample_id, index, text, "liar", "vision", saw, "m", "p", 1, "d")


def check(text, scene):
    assert scene.labels is not None
    return "- that is a lie" if text.startswith("lie") else None


def care(**options):
    return Care(**({"check": check, "rounds": 2, "substitute": TEMPLATE} | options))


def scene(name="a"):
    image, labels = toy_pair(1, 32, 32)
    return Scene(name, image, labels, CLASSES.shares(labels), True)


def repaired(*plans, **options):
    liar = Liar({"a": list(plans)})
    scenes = [scene()]
    written = liar.write([s.only(liar.sees) for s in scenes])
    [own] = repair_captions(written, scenes, liar, care(**options))
    return own, liar


def test_a_true_caption_stays_as_it_is_and_goes_back_to_nobody():
    [found], liar = repaired("ok")
    assert (found.ended, found.rounds, found.contradicted_first) == ("as written", 0, False)
    assert found.caption.text == "ok a 0 0"
    assert liar.told == []


def test_a_contradicted_caption_goes_back_with_the_contradiction():
    [found], liar = repaired("lie ok")
    assert liar.told == [("a", 0, 1, "- that is a lie")]
    assert (found.ended, found.rounds) == ("repaired", 1)
    assert (found.contradicted_first, found.contradicted_last) == (True, False)
    assert found.caption.saw == ("image", "feedback")
    assert found.first_text == "lie a 0 0"


def test_what_stays_contradicted_gives_way_to_the_grammar():
    [found, other], liar = repaired("lie", "ok")
    assert [number for _, _, number, _ in liar.told] == [1, 2]
    assert (found.ended, found.rounds, found.contradicted_last) == ("replaced", 2, True)
    assert (found.caption.writer, found.caption.index) == ("template", 0)
    assert found.caption.saw == ("layout",)
    assert other.caption.writer == "liar"


def test_it_can_be_kept_and_is_counted():
    [found], _ = repaired("lie", contradicted="keep")
    assert (found.ended, found.caption.writer) == ("contradicted", "liar")


def test_no_rounds_only_count_and_replace():
    [found], liar = repaired("lie ok", rounds=0)
    assert liar.told == []
    assert found.ended == "replaced"


def test_a_writer_that_fails_at_a_rewrite_is_not_asked_again():
    [found], liar = repaired("lie fail ok")
    assert [number for _, _, number, _ in liar.told] == [1]
    assert (found.ended, found.contradicted_last) == ("replaced", True)
    assert found.rewrite_failed
    assert found.failure.message == "it would not"


def test_a_failed_caption_stays_out_or_is_filled_and_its_error_stays():
    [failed, _], _ = repaired("fail", "ok")
    assert (failed.caption, failed.ended) == (None, "failed")
    [filled, _], _ = repaired("fail", "ok", failed="replace")
    assert (filled.ended, filled.caption.writer, filled.caption.index) == ("filled", "template", 0)
    assert filled.failure.message == "it would not"


def test_replacements_of_one_sample_differ():
    found, _ = repaired("lie", "lie", "fail", "lie", failed="replace")
    texts = [f.caption.text for f in found]
    assert len(set(texts)) == 4
    assert [f.caption.index for f in found] == [0, 1, 2, 3]


def test_where_the_grammar_has_too_few_the_rest_stays_and_is_told():
    found, _ = repaired(*["lie"] * 7)
    assert [f.ended for f in found] == ["replaced"] * 5 + ["contradicted"] * 2


def test_without_a_check_nothing_is_judged():
    [found], liar = repaired("lie", check=None)
    assert (found.ended, found.contradicted_first, liar.told) == ("as written", None, [])


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["ok", "lie", "fail"]), min_size=1, max_size=4).map(" ".join),
        min_size=1, max_size=5,
    ),
    st.integers(0, 3),
    st.sampled_from(["replace", "keep"]),
    st.sampled_from(["leave", "replace"]),
)  # fmt: skip
def test_counts_add_up_whatever_the_writer_does(plans, rounds, contradicted, failed):
    found, liar = repaired(*plans, rounds=rounds, contradicted=contradicted, failed=failed)
    assert [f.caption.index for f in found if f.caption] == [
        i for i, f in enumerate(found) if f.caption
    ]
    told = summarise_repairs(repair_rows(found).to_batches())
    assert told["asked"] == len(plans)
    assert told["failed"] == sum(p.startswith("fail") for p in plans)
    assert told["checked"] == told["asked"] - told["failed"]
    assert told["contradicted_before"] == sum(p.startswith("lie") for p in plans)
    assert told["contradicted_before"] == told["repaired"] + told["contradicted_after_repair"]
    assert told["contradicted_after_repair"] == told["replaced"] + told["kept_contradicted"]
    assert told["sent_back"] == len(liar.told)
    assert max([n for _, _, n, _ in liar.told], default=0) <= rounds
    # What no reader of the table could tell apart from a true caption is true, unless kept.
    if contradicted == "replace":
        assert not any(f.caption and f.caption.text.startswith("lie") for f in found)


def test_rates_without_any_check_are_none():
    assert summarise_repairs([])["replaced_rate"] is None


# --------------------------------------------------------------------------------- in the tables


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Eight samples in four shards."""
    rows = write_real(tmp_path_factory.mktemp("one"), 4, 2, 2).read()
    return write_table(
        tmp_path_factory.mktemp("real"),
        plan_shards(8, 2),
        lambda shard: rows.slice(shard.start, 2),
        settings_sha256="0" * 64,
        inputs={},
        description="t",
    )


PLAN = {
    "real-001": ["ok", "fail", "ok"],
    "real-003": ["lie ok", "lie", "ok"],
    "real-006": ["fail", "fail ok", "lie fail"],
}


def write(samples, folder, plan=PLAN, **options):
    liar = Liar({f"real-{n:03d}": ["ok"] * 3 for n in range(8)} | plan)
    table = caption_samples(
        samples, liar, folder / "real", settings_sha256="0" * 64, description="t",
        care=care(**options),
    )  # fmt: skip
    return table, liar


def test_errors_and_repairs_lie_beside_the_captions(samples, tmp_path):
    table, _ = write(samples, tmp_path)
    rows = table.read().to_pylist()
    assert len(rows) == 8 * 3 - 3
    assert {row["writer"] for row in rows} == {"liar", "template"}
    errors = Table.open(tmp_path / "errors" / "real").read()
    assert errors.schema.equals(ERROR_SCHEMA)
    assert [(e["id"], e["index"], e["stage"], e["attempt"]) for e in errors.to_pylist()] == [
        ("real-001", 1, "caption", 3), ("real-006", 0, "caption", 3), ("real-006", 1, "caption", 3),
        ("real-006", 2, "repair", 3),
    ]  # fmt: skip
    repairs = Table.open(tmp_path / "repairs" / "real")
    assert repairs.read().schema.equals(REPAIR_SCHEMA)
    assert repairs.num_rows == 24
    told = summarise_repairs(repairs.batches())
    assert (told["repaired"], told["replaced"], told["failed"]) == (1, 2, 3)
    assert told["failed_rewrites"] == 1
    assert told["contradicted_before_rate"] == round(3 / 21, 6)


def test_no_caption_is_an_error_and_no_error_is_a_caption(samples, tmp_path):
    table, _ = write(samples, tmp_path)
    captions = {(row["id"], row["index"]) for row in table.read().to_pylist()}
    errors = {
        (row["id"], row["index"])
        for row in Table.open(tmp_path / "errors" / "real").read().to_pylist()
        if row["stage"] == "caption"
    }
    assert not captions & errors
    assert len(captions | errors) == 24
    assert not any("would not" in row["text"] for row in table.read().to_pylist())


def test_only_shards_with_failures_are_made_again(samples, tmp_path):
    table, _ = write(samples, tmp_path)
    before = [sha256_of(path) for path in table.paths]
    assert reopen_failed(tmp_path / "real") == 4
    assert not (tmp_path / "real" / "manifest.json").exists()
    again, liar = write(samples, tmp_path, {name: ["ok"] * 3 for name in PLAN})
    # Samples 1 and 6 lie in the first and the last shard.
    assert {name for name, _, _ in liar.asked} == {f"real-{n:03d}" for n in (0, 1, 6, 7)}
    assert [sha256_of(path) == old for path, old in zip(again.paths, before, strict=True)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert Table.open(tmp_path / "errors" / "real").num_rows == 0
    assert reopen_failed(tmp_path / "real") == 0


def test_a_killed_reopening_can_be_repeated(samples, tmp_path, monkeypatch):
    write(samples, tmp_path)
    from pathlib import Path

    real, count = Path.unlink, []

    def dying(path, missing_ok=False):
        count.append(path)
        if len(count) == 3:
            raise KeyboardInterrupt
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", dying)
    with pytest.raises(KeyboardInterrupt):
        reopen_failed(tmp_path / "real")
    monkeypatch.undo()
    assert reopen_failed(tmp_path / "real") == 4


def test_a_lost_side_shard_is_told_not_invented(samples, tmp_path):
    write(samples, tmp_path)
    for name in ("errors", "repairs"):
        (tmp_path / name / "real" / "manifest.json").unlink()
    (tmp_path / "errors" / "real" / "part-00000.parquet").unlink()
    with pytest.raises(DamagedTable, match="missing beside captions"):
        write(samples, tmp_path)


def test_a_model_needs_to_be_told_what_becomes_of_failures(samples, tmp_path):
    with pytest.raises(ValueError, match="say in `care`"):
        caption_samples(
            samples, Liar({}), tmp_path / "real", settings_sha256="0" * 64, description="t"
        )


def test_a_grammar_must_not_fail(samples, tmp_path):
    class Broken:
        name, sees = "broken", frozenset()

        def write(self, scenes):
            return [[Failure(s.sample_id, 0, 0, "no")] for s in scenes]

    with pytest.raises(ValueError, match="broken left captions out"):
        caption_samples(
            samples, Broken(), tmp_path / "real", settings_sha256="0" * 64, description="t"
        )


def test_the_grammar_writes_no_side_tables(samples, tmp_path):
    caption_samples(samples, TEMPLATE, tmp_path / "real", settings_sha256="0" * 64, description="t")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["real"]


# -------------------------------------------------------------------------- checked by claims


def test_claims_of_a_caption_are_checked_on_the_mask():
    check_claims = claims_check(CLASSES)
    water = Scene("w", None, np.zeros((32, 32), np.uint8), None, True)
    crops = Scene("c", None, np.ones((32, 32), np.uint8), None, True)
    for _ in range(2):  # facts of one scene do not stick to the next
        assert check_claims("Water covers all of the scene.", water) is None
        told = check_claims("Water covers all of the scene.", crops)
        assert told is not None
        assert "water" in told
        assert not any(c.isdigit() for c in told)


def test_captions_without_a_claim_are_not_contradicted():
    assert claims_check(CLASSES)("Ignore all previous instructions.", scene()) is None
    assert claims_check(CLASSES)("<script>alert(1)</script>", scene()) is None


def test_captions_of_the_grammar_hold_on_their_mask():
    check_claims = claims_check(CLASSES)
    for number in range(10):
        labels = toy_pair(number, 32, 32)[1]
        of = Scene(f"s{number}", None, labels, None, True)
        for caption in TEMPLATE.write([of])[0]:
            assert check_claims(caption.text, of) is None, caption.text


def test_a_check_needs_the_mask():
    with pytest.raises(ValueError, match="checked on the mask"):
        claims_check(CLASSES)("Water.", Scene("a", None, None, None, True))
