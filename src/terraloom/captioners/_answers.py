"""What models answered, keyed by what they were asked: a finished answer is never asked for again.

Answers of a remote model cannot be made again, so they are data. They lie in one SQLite file beside
the stages: each is committed as it arrives, and a killed process loses only what was on its way.
Attempts, seconds and the time of day lie here, outside the promise of equal bytes.
"""

import contextlib
import datetime
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from terraloom.errors import RunError, UnreadableFile
from terraloom.files import make_folder

State = Literal["done", "draft", "failed"]

FILENAME: Final = "answers.sqlite"
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS answers (
  key TEXT PRIMARY KEY, writer TEXT, model TEXT, sample_id TEXT, caption_index INTEGER,
  round INTEGER, state TEXT, text TEXT, reason TEXT, transient INTEGER, corrections INTEGER,
  attempts INTEGER, prompt_sha256 TEXT, seed INTEGER, seconds REAL, time TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
  batch TEXT PRIMARY KEY, keys TEXT, state TEXT, time TEXT
) WITHOUT ROWID;
"""
_COLUMNS: Final = (
    "key, state, text, reason, transient, corrections, attempts, prompt_sha256, seed, seconds"
)
_MOST_VARIABLES: Final = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose caption an answer is."""

    key: str
    """SHA-256 of everything that the model was given, and of the caption that it is for."""
    writer: str
    model: str
    sample_id: str
    index: int
    round: int
    """0 for the first caption, from 1 when it went back with feedback."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one caption so far."""

    state: State
    """done: `text` is the caption; draft: `text` was refused for `reason` and is to be corrected;
    failed: there is none."""
    text: str | None
    reason: str | None
    transient: bool
    """Of a failure: the next run tries again by itself."""
    corrections: int
    """Texts refused so far."""
    attempts: int
    """Times that the model was asked in all."""
    prompt_sha256: str
    """Of the prompt that brought the last text."""
    seed: int
    seconds: float
    """From first to last asking, waits included, over all runs."""


class AnswerStore:
    """Answers by key, and batches under way.

    Args:
        folder: where the file lies; None keeps answers in memory, for as long as the object lives.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.path = None if folder is None else folder / FILENAME
        if folder is not None:
            make_folder(folder)
        self._lock = threading.Lock()
        with self._guarded():
            target = ":memory:" if self.path is None else str(self.path)
            self._db = sqlite3.connect(target, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_TABLES)

    def close(self) -> None:
        """Close the file; the object cannot be used any more."""
        with self._lock:
            self._db.close()

    def get(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The answers that there are, by key."""
        found = {}
        for start in range(0, len(keys), _MOST_VARIABLES):
            part = keys[start : start + _MOST_VARIABLES]
            marks = ",".join("?" * len(part))
            with self._guarded():
                rows = self._db.execute(
                    f"SELECT {_COLUMNS} FROM answers WHERE key IN ({marks})",  # noqa: S608 - marks
                    part,
                ).fetchall()
            for key, state, text, reason, transient, *rest in rows:
                assert state in get_args(State)
                found[key] = Answer(state, text, reason, bool(transient), *rest)
        return found

    def put(self, asked: Asked, answer: Answer) -> None:
        """Keep one answer, on disk when this returns."""
        row = (
            asked.key, asked.writer, asked.model, asked.sample_id, asked.index, asked.round,
            answer.state, answer.text, answer.reason, int(answer.transient), answer.corrections,
            answer.attempts, answer.prompt_sha256, answer.seed, answer.seconds, _now(),
        )  # fmt: skip
        with self._guarded():
            self._db.execute(
                f"INSERT OR REPLACE INTO answers VALUES ({','.join('?' * len(row))})",  # noqa: S608
                row,
            )
            self._db.commit()

    def forget_failed(self, writer: str) -> int:
        """Drop the failures of one writer, so that they are asked for again; their number."""
        with self._guarded():
            done = self._db.execute(
                "DELETE FROM answers WHERE state = 'failed' AND writer = ?", (writer,)
            )
            self._db.commit()
        return int(done.rowcount)

    def open_batches(self) -> dict[str, list[str]]:
        """Batches that were not fetched to their end, by the server's name: their requests."""
        with self._guarded():
            rows = self._db.execute(
                "SELECT batch, keys FROM batches WHERE state = 'open' ORDER BY time, batch"
            ).fetchall()
        return {str(batch): list(json.loads(keys)) for batch, keys in rows}

    def note_batch(self, batch: str, keys: Sequence[str], state: Literal["open", "closed"]) -> None:
        """Remember a batch and its requests, or that it was fetched to its end."""
        with self._guarded():
            self._db.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)",
                (batch, json.dumps(list(keys)), state, _now()),
            )
            self._db.commit()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """One thread at a time; troubles of the disk and the file told as ours."""
        with self._lock:
            try:
                yield
            except sqlite3.OperationalError as error:
                raise RunError(
                    f"cannot keep answers in {self.path}: {error}. Free some space, or stop the "
                    "other program that holds it, and run the same command again."
                ) from error
            except sqlite3.DatabaseError as error:
                raise UnreadableFile(
                    f"{self.path} is no file of answers, or is damaged: {error}. Move it away; "
                    "what it held is asked for again."
                ) from error


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
