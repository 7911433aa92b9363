"""`terraloom build` on a local server as a process of its own that can be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from terraloom.files import sha256_of

_TIMEOUT_S = 120
_POLL_S = 0.001
_TELL_THE_TIME = {"ledger.jsonl", "log.jsonl", ".lock"}


def write_project(folder: Path, base: str, tiles: tuple[str, ...]) -> Path:
    """A project that builds patches of 32 pixels from official tiles below an address."""
    folder.mkdir(parents=True)
    names = ", ".join(f'"{name}"' for name in tiles)
    (folder / "terraloom.toml").write_text(
        f"""\
[project]
workers = 1

[sources.worldcover]
tiles = [{names}]
maps_url = "{base}"
composites_url = "{base}"
workers = 2

[sources.worldcover.retry]
first_wait_s = 0.1
timeout_s = 5.0

[cut]
patch_size = 32
check_shift = false

[split]
by = "block"
block_size_m = 1000

[segment.training]
crop_size = 32

[generate]
size = 32

[benchmark.training]
crop_size = 32
"""
    )
    return folder


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "terraloom", "build", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"},
    )


def finish(folder: Path) -> None:
    process = start(folder)
    _, err = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 0, err.decode()[-2000:]


def kill_when(folder: Path, moment: Callable[[], bool], wait_s: float = 0.0) -> bool:
    """Build, and kill -9 so long after a moment; False where the build ended before."""
    process = start(folder)
    deadline = time.monotonic() + _TIMEOUT_S
    while not moment():
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()[1].decode()[-2000:]
            return False
        assert time.monotonic() < deadline
        time.sleep(_POLL_S)
    time.sleep(wait_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def digests(folder: Path) -> dict[str, str]:
    """Checksums of all that a project holds, but for what tells the time."""
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in _TELL_THE_TIME
    }
