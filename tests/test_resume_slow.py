"""kill -9 at any moment, the same command again, the same bytes at the end."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from terraloom.files import sha256_of
from terraloom.testing import tiny_project

pytestmark = pytest.mark.slow

_TIMEOUT_S = 300
_POLL_S = 0.002
KILL_AT = {
    "while the segmenter trains": "segment/labeller/latest.json",
    "while the first generator trains": "generate/models/flow/latest.json",
    "between two generators": "generate/models/flow/state.json",
    "while samples are made": "generate/samples/part-00000.parquet",
    "while captions are written": "caption/real/part-00000.parquet",
    "while a cell trains": "benchmark/cells/unet-synthetic-0/latest.json",
    "between two cells": "benchmark/cells/unet-real-1/result.json",
}


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "terraloom", "run", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
    )


def finish(folder: Path) -> None:
    process = start(folder)
    _, err = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 0, err.decode()[-2000:]


def kill_when(folder: Path, name: str) -> None:
    """Run, and kill -9 as soon as the file is there."""
    process = start(folder)
    deadline = time.monotonic() + _TIMEOUT_S
    while not (folder / name).exists():
        assert process.poll() is None, f"ended before {name}: {process.stderr.read().decode()}"
        assert time.monotonic() < deadline
        time.sleep(_POLL_S)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def write_project(folder: Path) -> Path:
    folder.mkdir()
    text = tiny_project(segment=64, spade=32, flow=48, benchmark=32)
    (folder / "terraloom.toml").write_text(text.replace("checks = 1", "checks = 4"))
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Checksums of everything that the promise of equal bytes covers."""
    patterns = (
        "*/**/*.parquet", "*/**/manifest.json", "*/**/weights.safetensors", "*/**/state.json",
        "*/**/grid-*.png", "benchmark/results.json", "benchmark/recipe.json", "score/*.json",
        "curate/*.json", "*/stage.json", "*/floors.json",
    )  # fmt: skip
    found = {
        str(path.relative_to(folder)): sha256_of(path)
        for pattern in patterns
        for path in folder.glob(pattern)
        # The report tells looks at test and times; both grow with every interruption.
        if path.parent.name != "report"
    }
    assert sum(name.endswith(".parquet") for name in found) > 12
    return found


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> dict[str, str]:
    folder = write_project(tmp_path_factory.mktemp("unbroken") / "project")
    finish(folder)
    return digests(folder)


@pytest.mark.parametrize("moment", KILL_AT)
def test_a_run_killed_once_ends_with_the_same_bytes(moment, unbroken, tmp_path):
    folder = write_project(tmp_path / "project")
    kill_when(folder, KILL_AT[moment])
    assert not (folder / "benchmark" / "results.json").exists()
    finish(folder)
    assert digests(folder) == unbroken


def test_a_run_killed_at_chance_moments_ends_with_the_same_bytes(unbroken, tmp_path):
    folder = write_project(tmp_path / "project")
    moments = random.Random(0)
    kills = 0
    for _ in range(8):
        process = start(folder)
        try:
            process.communicate(timeout=moments.uniform(3.0, 7.0))
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
    assert kills > 0
    finish(folder)
    assert digests(folder) == unbroken
