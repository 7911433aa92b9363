"""One training in several processes of this machine, each with its own GPU (or share of the CPU).

Lightning Fabric starts the processes and averages their gradients (distributed data parallel). The
process that asked for it waits, so that everything around a training goes on as with one device.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.multiprocessing.spawn import ProcessRaisedException

from terraloom import errors
from terraloom.errors import TerraloomError
from terraloom.files import read_json, write_json
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.learning.device import fabric_of

_PORT: Final = "MASTER_PORT"
_PATIENCE: Final = timedelta(hours=12)
"""How long processes wait for the first one, which evaluates alone; the default of minutes would
end a training whose val rows are many."""


def run_together(work: Callable[..., None], devices: int, *args: object) -> None:
    """Run `work(fabric, *args)` in `devices` new processes and wait for all of them.

    Args:
        work: a function of a module, so that the processes find it; `fabric.global_rank` tells
            it which process it runs in. Threads are shared out between the processes.
        devices: processes, at least 2.
        args: handed over by pickle.

    Raises:
        TerraloomError: what one of the processes raised; the others are ended.
        SettingsError: there are fewer GPUs than `devices`.
    """
    # Encoders may hold layers whose output no decoder reads; without the search, gradients of the
    # others would wait for theirs.
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=True, timeout=_PATIENCE)
    threads = max(1, torch.get_num_threads() // devices)
    with TemporaryDirectory(prefix="terraloom-") as name, _own_port():
        # One closed parcel: Fabric looks for networks inside of bare arguments, row by row.
        parcel = partial(_noted, work=work, threads=threads, notes=Path(name), args=args)
        try:
            fabric_of(devices, strategy).launch(parcel)
        except ProcessRaisedException as error:
            notes = sorted(Path(name).glob("*.json"))
            if not notes:
                raise
            note = read_json(notes[0])
            raise getattr(errors, note["kind"])(note["message"]) from error


def _noted(
    fabric: Fabric, work: Callable[..., None], threads: int, notes: Path, args: tuple[Any, ...]
) -> None:
    """In a process of its own: work, and leave word of an error raised on purpose."""
    repair_torchvision()
    torch.set_num_threads(threads)
    try:
        work(fabric, *args)
    except TerraloomError as error:
        # Only text survives the end of a process.
        note = {"kind": type(error).__name__, "message": str(error)}
        write_json(notes / f"{fabric.global_rank:04d}.json", note)
        raise


@contextmanager
def _own_port() -> Iterator[None]:
    """Fabric leaves the port of a launch in the environment; the next launch takes a new one."""
    before = os.environ.get(_PORT)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_PORT, None)
