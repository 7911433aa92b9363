"""Published weights: read from safetensors alone, and what goes wrong is told with the ways out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from safetensors import SafetensorError

from terraloom.errors import BadCheckpoint, WeightsUnavailable

_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def check_safetensors(folder: Path, otherwise: str = "") -> None:
    """Make sure that a folder of weights holds safetensors, before a library looks into it.

    Args:
        folder: of the weights; one that is not there holds none.
        otherwise: one more way out, such as 'or set model = "small"'.

    Raises:
        WeightsUnavailable: it holds none; pickles that it holds are named, and never loaded.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if any(name.endswith(".safetensors") for name in names):
        return
    pickles = [name for name in names if name.endswith(_PICKLES)]
    told = f"only {', '.join(pickles[:3])}, which may be a pickle" if pickles else "none"
    raise WeightsUnavailable(
        f"{folder} has no safetensors: it holds {told}. Ways out: take the edition with "
        f"safetensors; save the model again with save_pretrained{_behind(otherwise)}."
    )


@contextmanager
def told_clearly(name: str, asked: str, otherwise: str) -> Iterator[None]:
    """Errors of transformers while a model is loaded, told as ours.

    Args:
        name: id or folder of the model.
        asked: what was asked for, such as "the model NAME".
        otherwise: one more way out.

    Raises:
        BadCheckpoint: the weights are damaged.
        WeightsUnavailable: they are neither here nor to be had, or are no model.
    """
    try:
        yield
    except SafetensorError as error:
        raise BadCheckpoint(
            f"the weights of {name} are damaged or cut short ({error}). Copy the whole folder "
            "again."
        ) from error
    except (OSError, ValueError, ImportError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise WeightsUnavailable(
            f"{asked} could not be loaded: {first} Ways out: fetch it where there is a network "
            f"(hf download {name} --local-dir DIR) and set model to that folder; set HF_HOME to a "
            f"cache that holds it{_behind(otherwise)}."
        ) from error


def _behind(otherwise: str) -> str:
    return f"; {otherwise}" if otherwise else ""
