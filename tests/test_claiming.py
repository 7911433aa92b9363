"""The table of claims: a row per claim of each caption, the same again after a kill."""

from collections import Counter

import pyarrow as pa
import pytest

from terraloom.captioning import CAPTION_SCHEMA
from terraloom.claiming import CLAIM_SCHEMA, UNREAD, claim_captions
from terraloom.claims import KINDS, MAX_CHARACTERS, VERDICTS
from terraloom.files import sha256_of
from terraloom.tables import MANIFEST, Table, shards_of, write_table
from terraloom.testing import toy_classes, write_real

CLASSES = toy_classes()
TEXTS = (
    "Water and crops.",
    "A scene dominated by trees, without water.",
    "<script>alert('water')</script>",
    "A fine day.",
    "Water. " * 5_000,
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Table]:
    folder = tmp_path_factory.mktemp("claiming")
    samples = write_real(folder / "samples", 4, 2, 2, 48, 48)

    def write(shard):
        part = pa.concat_tables([samples.read(["id"])]).slice(shard.start, shard.stop - shard.start)
        rows = [
            {
                "id": sample_id, "index": index, "text": text, "writer": "w", "mode": "vision",
                "saw": ["image"], "model": None, "prompt_sha256": None, "seed": 1,
                "decoding": None,
            }
            for sample_id in part["id"].to_pylist()
            for index, text in enumerate(TEXTS)
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema=CAPTION_SCHEMA)

    captions = write_table(
        folder / "captions", shards_of(samples), write, settings_sha256="0" * 64, inputs={},
        description="captions",
    )  # fmt: skip
    return samples, captions


@pytest.fixture(scope="module")
def claims(tables, tmp_path_factory) -> Table:
    folder = tmp_path_factory.mktemp("claims")
    return claim_captions(*tables, CLASSES, folder, description="claims")


def test_each_claim_of_each_caption_is_a_row(tables, claims):
    rows = claims.read().to_pylist()
    assert claims.read().schema.equals(CLAIM_SCHEMA)
    ids = tables[0].read(["id"])["id"].to_pylist()
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert {row["id"] for row in rows} == set(ids)
    first = [row for row in rows if row["id"] == ids[0]]
    assert Counter(row["caption"] for row in first) == {0: 2, 1: 3, 2: 1, 4: 2}
    told = {(r["kind"], *r["classes"]) for r in first if r["caption"] == 1}
    assert told == {("dominant", "tree"), ("presence", "tree"), ("absence", "water")}
    for row in rows:
        assert row["kind"] in (*KINDS, UNREAD)
        assert row["verdict"] in VERDICTS
        assert row["evidence"]
        start, end = row["span"]
        if row["kind"] != UNREAD:
            assert TEXTS[row["caption"]][start:end].strip()


def test_a_caption_that_is_too_long_says_so_in_the_table(claims):
    found = [row for row in claims.read().to_pylist() if row["kind"] == UNREAD]
    assert found
    for row in found:
        assert row["span"] == [MAX_CHARACTERS, len(TEXTS[4])]
        assert row["verdict"] == "not checkable"
        assert str(len(TEXTS[4]) - MAX_CHARACTERS) in row["evidence"]


def test_no_text_of_a_caption_gets_into_the_table(claims):
    for row in claims.read().to_pylist():
        told = f"{row['evidence']} {row['value']} {row['classes']}"
        assert "script" not in told
        assert "<" not in told


def test_a_shard_that_is_missing_is_made_again_to_the_same_bytes(tables, claims):
    before = {path.name: sha256_of(path) for path in claims.paths}
    claims.paths[-1].unlink()
    (claims.folder / MANIFEST).unlink()
    again = claim_captions(*tables, CLASSES, claims.folder, description="claims")
    assert {path.name: sha256_of(path) for path in again.paths} == before
