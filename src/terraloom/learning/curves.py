"""Training curves as TensorBoard files, beside the log."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

from torch.utils.tensorboard import SummaryWriter

FOLDER: Final = "tensorboard"


class Curves:
    """Writes figures of one training, by images seen.

    Event files bear the time of day, so they lie outside the promise of equal bytes. After a kill
    the curve goes on from the checkpoint: what lay beyond it is dropped by TensorBoard itself.

    Args:
        folder: of the training; event files go into its `tensorboard` folder.
        images: seen when this process began.
    """

    def __init__(self, folder: Path, images: int = 0) -> None:
        self._writer = SummaryWriter(
            str(folder / FOLDER), purge_step=images if images else None, flush_secs=30
        )

    def __enter__(self) -> "Curves":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()

    def note(self, images: int, figures: Mapping[str, float]) -> None:
        """Add one point to each curve."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, images)


def send_to_wandb(project: str, name: str, folder: Path) -> None:
    """Send all TensorBoard curves of this process to Weights & Biases as well.

    Raises:
        ImportError: the package wandb is not installed.
    """
    import wandb

    wandb.init(project=project, name=name, dir=str(folder), sync_tensorboard=True)
