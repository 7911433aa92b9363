"""Score cards: everything known of each synthetic sample in one table, and subsets of it by SQL."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from terraloom.errors import DamagedTable, InputError, OutputError
from terraloom.files import sha256_of_value, write_json
from terraloom.tables import MANIFEST, Shard, Table, shards_of, write_table

VIEW: Final = "cards"
"""What the table is called in SQL."""
SUBSETS: Final = "subsets"
_EXAMPLE: Final = "SELECT id FROM cards WHERE keep"
_ABOUT: Final = ("id", "origin", "parent", "seed", "plan")
_NEAREST: Final = ("train_id", "synthetic_id")
_NAME: Final = re.compile(r"[\w-]{1,64}")


def write_cards(
    synthetic: Table,
    scores: Table,
    verdicts: Table,
    class_names: Sequence[str],
    folder: Path,
    neighbours: Table | None = None,
) -> Table:
    """Join samples, scores and verdicts, one row per synthetic sample, kept or rejected.

    Args:
        synthetic: labelled samples.
        scores: their scores, shard by shard.
        verdicts: their verdicts, shard by shard.
        class_names: in label order.
        folder: receives the table: id, origin, parent, seed, plan; share_CLASS 0 … 1; every score;
            train_id and synthetic_id where there are neighbours; keep, rule, reason, reviewer.
        neighbours: which images are nearest to each sample, shard by shard; left out, unknown.
    """

    def join(shard: Shard) -> pa.Table:
        samples = pq.read_table(synthetic.folder / shard.filename, columns=[*_ABOUT, "shares"])
        columns: dict[str, Any] = {name: samples.column(name) for name in _ABOUT}
        shares = samples.column("shares").to_pylist()
        for label, name in enumerate(class_names):
            columns[share_column(name)] = pa.array([row[label] for row in shares], pa.float32())
        near = [] if neighbours is None else [neighbours]
        for table in (scores, *near, verdicts):
            wanted = ["id", *_NEAREST] if table is neighbours else None
            rows = pq.read_table(table.folder / shard.filename, columns=wanted)
            if rows.column("id") != samples.column("id"):
                raise DamagedTable(
                    f"{table.folder / shard.filename} holds other samples than "
                    f"{synthetic.folder / shard.filename}. Delete both stages and run again."
                )
            columns |= {name: rows.column(name) for name in rows.column_names if name != "id"}
        return pa.table(columns)

    inputs = {"samples": synthetic.sha256, "scores": scores.sha256, "verdicts": verdicts.sha256}
    if neighbours is not None:
        inputs["neighbours"] = neighbours.sha256
    return write_table(
        folder,
        shards_of(scores),
        join,
        settings_sha256=sha256_of_value(list(class_names)),
        inputs=inputs,
        description="writing score cards",
        unit="samples",
    )


def share_column(class_name: str) -> str:
    """Column of a class's share, such as "share_built_up"."""
    return "share_" + re.sub(r"\W+", "_", class_name)


def query(cards: Table, sql: str) -> pa.Table:
    """The answer to one SELECT over the score cards, in DuckDB's SQL; the table is called `cards`.

    The query can read nothing but the cards and write nothing: DuckDB runs in memory with access to
    files, network and extensions switched off.

    Raises:
        InputError: the text is no single SELECT, or DuckDB cannot answer it; columns are listed.
    """
    import duckdb

    data = pds.dataset([str(path) for path in cards.paths])
    options: dict[str, Any] = {"enable_external_access": "false", "lock_configuration": "true"}
    with duckdb.connect(":memory:", config=options) as connection:
        connection.register(VIEW, data)
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise InputError(
                    f"one query is expected, as in: {_EXAMPLE}; found {len(statements)} "
                    f"statement(s) in {sql!r}, or one that is no query."
                )
            answer: pa.Table = connection.sql(statements[0].query).to_arrow_table()
        except duckdb.Error as error:
            told = str(error).split("\n\n")[0]
            raise InputError(
                f"the query cannot be answered: {told} The columns of {VIEW} are "
                f"{', '.join(data.schema.names)}."
            ) from error
    return answer


def write_subset(synthetic: Table, answer: pa.Table, sql: str, name: str, project: Path) -> Table:
    """Write the samples that a query names as a sample table of their own.

    Args:
        synthetic: labelled samples.
        answer: of the query; its column `id` says which.
        sql: that was asked, for the record.
        name: letters, digits, hyphens.
        project: receives subsets/NAME/samples and subsets/NAME/subset.json.

    Raises:
        InputError: the answer has no column id or no row, or the name cannot be a folder's.
        OutputError: there is a subset of that name.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"--subset {name!r} must be letters, digits, hyphens or underscores.")
    if "id" not in answer.column_names:
        raise InputError(
            f"a subset needs the column id, as in: {_EXAMPLE}; the answer has "
            f"{', '.join(answer.column_names)}."
        )
    wanted = pc.unique(answer.column("id"))
    if not len(wanted):
        raise InputError("the query names no sample; loosen its conditions.")
    folder = project / SUBSETS / name
    if (folder / "samples" / MANIFEST).exists():
        raise OutputError(f"{folder} exists already; choose another name or delete it.")

    def take(shard: Shard) -> pa.Table:
        rows = pq.read_table(synthetic.folder / shard.filename)
        return rows.filter(pc.is_in(rows.column("id"), value_set=wanted))

    table = write_table(
        folder / "samples",
        shards_of(synthetic),
        take,
        settings_sha256=sha256_of_value(sql),
        inputs={"samples": synthetic.sha256},
        description="writing the subset",
        unit="samples",
    )
    write_json(
        folder / "subset.json",
        {
            "sql": sql,
            "samples": table.num_rows,
            "of": synthetic.num_rows,
            "source": "label/samples",
        },
    )
    return table
