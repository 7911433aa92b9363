"""kill -9 of the loop's process, the same command again, the same bytes at the end."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from terraloom.files import read_lines, sha256_of
from terraloom.testing import tiny_project

pytestmark = pytest.mark.slow

_TIMEOUT_S = 400
KILL_AT = (
    "demand/fold-0/labeller/latest.json",
    "demand/round-01/whole/samples/part-00000.parquet",
    "demand/round-01/cells/fold-0-0/result.json",
    "demand/look-*/cells/unet-real-0/result.json",
)


def start(folder):
    asked = ["--rounds", "1", "--samples", "8", "--folds", "2", "--seeds", "1", "--weak", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "terraloom", "demand", str(folder), *asked],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip


def finish(folder):
    process = start(folder)
    _, err = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 0, err.decode()[-2000:]


def kill_when(folder, pattern):
    """Run, and kill -9 as soon as a file of that pattern is there."""
    process = start(folder)
    deadline = time.monotonic() + _TIMEOUT_S
    while not list(folder.glob(pattern)):
        assert process.poll() is None, f"ended before {pattern}: {process.stderr.read().decode()}"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def write_project(folder):
    folder.mkdir()
    text = re.sub(r"\[generators\.flow\].*?\n\n", "", tiny_project(), flags=re.DOTALL)
    (folder / "terraloom.toml").write_text(text, encoding="utf-8")
    return folder


def digests(folder):
    found = {
        str(path.relative_to(folder)): sha256_of(path)
        for pattern in ("**/*.parquet", "**/*.json", "**/weights.safetensors")
        for path in (folder / "demand").glob(pattern)
    }
    assert len(found) > 40
    return found


def test_a_loop_killed_at_every_kind_of_work_ends_with_the_same_bytes(tmp_path):
    unbroken = write_project(tmp_path / "unbroken")
    finish(unbroken)
    folder = write_project(tmp_path / "project")
    for pattern in KILL_AT:
        kill_when(folder, pattern)
        assert not (folder / "demand" / "demand.json").exists()
    finish(folder)
    assert digests(folder) == digests(unbroken)
    # A look that was cut off is told twice, but it is one recipe.
    assert len({look["recipe_sha256"] for look in read_lines(folder / "test-looks.jsonl")}) == 1
