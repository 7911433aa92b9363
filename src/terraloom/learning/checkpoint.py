"""Checkpoints: tensors as safetensors, numbers as JSON, and never a pickle.

A checkpoint is a folder with `weights.safetensors` (networks), `state.safetensors` (optimisers) and
`state.json`. It is written under a temporary name and renamed; `latest.json` names the newest whole
one, and older ones are then removed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from terraloom.errors import BadCheckpoint
from terraloom.files import make_folder, read_json, remove_folder, remove_leftovers, write_json

_LATEST: Final = "latest.json"
CHECKPOINT_VERSION: Final = 1
_WAY_OUT: Final = (
    "Copy the whole folder of the training again, or delete it and run the stage again."
)


def save_weights(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Write the state of several networks into one safetensors file, atomically."""
    tensors = {
        f"{name}/{key}": value.detach().cpu().contiguous().clone()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    _save_tensors(path, tensors)


def load_weights(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Read the state of several networks back; every tensor must fit and be finite.

    Raises:
        BadCheckpoint: the file is damaged, a tensor is missing, left over or of another shape, or
            holds a number that is not finite; one line that names file, tensor and way out.
    """
    tensors = _load_tensors(path)
    for name, module in modules.items():
        prefix = f"{name}/"
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        wrong = _misfits(state, module.state_dict())
        if wrong:
            raise BadCheckpoint(f"{path} does not fit {name}: {'; '.join(wrong)}. {_WAY_OUT}")
        for key, tensor in state.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                bad = int((~torch.isfinite(tensor)).sum())
                raise BadCheckpoint(
                    f"{path} holds weights that are no numbers: {bad} of {tensor.numel()} in {key} "
                    f"of {name}. {_WAY_OUT}"
                )
        module.load_state_dict(state)


def save_checkpoint(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    numbers: Mapping[str, Any],
    images: int,
) -> None:
    """Write the whole training state after `images` images and make it the latest."""
    name = f"images-{images:09d}"
    target = folder / name
    partial = folder / f".{name}.part"
    remove_folder(partial)
    make_folder(partial)
    save_weights(partial / "weights.safetensors", modules)
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, Any] = {}
    for key, optimizer in optimizers.items():
        state = optimizer.state_dict()
        shapes[key] = {"param_groups": state["param_groups"], "numbers": {}}
        for index, entries in state["state"].items():
            for entry, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"{key}/{index}/{entry}"] = value.detach().cpu().contiguous().clone()
                else:
                    shapes[key]["numbers"].setdefault(str(index), {})[entry] = value
    _save_tensors(partial / "state.safetensors", tensors)
    write_json(
        partial / "state.json",
        {
            "version": CHECKPOINT_VERSION,
            "images": images,
            "optimizers": shapes,
            "numbers": dict(numbers),
        },
    )
    remove_folder(target)
    partial.rename(target)
    write_json(folder / _LATEST, {"folder": name})
    for other in folder.glob("images-*"):
        if other.name != name:
            remove_folder(other)


def load_checkpoint(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
) -> tuple[int, dict[str, Any]] | None:
    """Restore the latest checkpoint.

    Returns:
        Images seen and the numbers that were saved; None where there is no checkpoint.
    """
    if not (folder / _LATEST).exists():
        return None
    source = folder / str(read_json(folder / _LATEST)["folder"])
    load_weights(source / "weights.safetensors", modules)
    state = read_json(source / "state.json")
    tensors = _load_tensors(source / "state.safetensors")
    for key, optimizer in optimizers.items():
        restored: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            if name.startswith(f"{key}/"):
                _, index, entry = name.split("/")
                restored.setdefault(int(index), {})[entry] = value
        for index, entries in state["optimizers"][key]["numbers"].items():
            restored.setdefault(int(index), {}).update(entries)
        groups = state["optimizers"][key]["param_groups"]
        for group in groups:
            if "betas" in group:
                group["betas"] = tuple(group["betas"])
        optimizer.load_state_dict({"state": restored, "param_groups": groups})
    return int(state["images"]), dict(state["numbers"])


def discard_checkpoints(folder: Path) -> None:
    """Remove the training state of a finished training; kept weights lie elsewhere."""
    (folder / _LATEST).unlink(missing_ok=True)
    for pattern in ("images-*", ".images-*"):  # the latter were torn by a kill
        for checkpoint in folder.glob(pattern):
            remove_folder(checkpoint)
    remove_leftovers(folder)


def _misfits(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """How tensors differ from those of a network, one piece of text per kind of difference."""
    told = []
    shapes = [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
    if shapes:
        key = shapes[-1]  # the last layer tells the classes, where they alone differ
        told.append(
            f"size mismatch in {_counted(shapes)} ({key} is {tuple(found[key].shape)} in the file, "
            f"{tuple(wanted[key].shape)} in the network: another number of classes, or another "
            "width)"
        )
    for verb, keys in (
        ("missing", [key for key in wanted if key not in found]),
        ("left over", [key for key in found if key not in wanted]),
    ):
        if keys:
            told.append(f"{_counted(keys)} {verb}, such as {keys[0]}")
    if len(told) > 1 and not shapes:
        told.append("it is of another architecture or encoder")
    return told


def _counted(keys: list[str]) -> str:
    return f"{len(keys)} tensor{'' if len(keys) == 1 else 's'}"


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise BadCheckpoint(f"{path} is missing. {_WAY_OUT}") from error
    except SafetensorError as error:
        raise BadCheckpoint(
            f"{path} is damaged or cut short ({path.stat().st_size:,} bytes; {error}). {_WAY_OUT}"
        ) from error


def _save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    from terraloom.files import atomic_path

    with atomic_path(path) as temporary:
        save_file(tensors or {"empty": torch.zeros(1)}, temporary)
