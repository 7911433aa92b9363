"""Local models of the transformers library (Gemma 3, Qwen3, Qwen3-VL …), by id or folder, batched.

Weights are read from safetensors alone and no code of a publisher is run. Each caption is sampled
with a seed of its own; see `_transformers_backend` for how far it depends on its batch mates.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from terraloom.captioners._face import ModelCaptioner
from terraloom.captioners._model_writer import Backend, ModelSettings, ModelWriter
from terraloom.classes import ClassTable
from terraloom.files import sha256_of, sha256_of_value

_NAME: Final = "transformers"


class Settings(ModelSettings):
    """Settings of the transformers captioner."""

    model: str = Field(min_length=1)
    """Id on the Hugging Face hub, such as Qwen/Qwen3-VL-8B-Instruct, or a folder with config,
    tokenizer or processor, and safetensors. A folder is told by its name and the checksum of its
    weights, never by its path."""
    batch_size: int = Field(default=8, ge=1)
    """Captions that are written together; it decides memory and speed."""
    prefetch: int = Field(default=2, ge=0)
    """Batches of inputs that are made ready while the model works."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 where a GPU gains by it, else float32; on CPUs shorter types are many times
    slower."""
    template_options: dict[str, Any] = Field(default={"enable_thinking": False})
    """Handed to the model's chat template; templates ignore what they do not know."""


def build(settings: Settings, classes: ClassTable, seed: int) -> ModelCaptioner:
    """A captioner that runs a model here; the model is loaded when the first caption is due."""

    def connect() -> Backend:
        from terraloom.captioners._transformers_backend import TransformersBackend, load_model

        loaded = load_model(
            settings.model,
            settings.revision,
            sees_images="image" in writer.sees,
            device=settings.device,
            dtype=settings.dtype,
        )
        return TransformersBackend(
            loaded,
            batch_size=settings.batch_size,
            prefetch=settings.prefetch,
            template_options=settings.template_options,
        )

    writer = ModelWriter(
        _NAME, settings, classes, seed, connect,
        extra={"template": settings.template_options, "dtype": settings.dtype},
        told_model=lambda: _told(settings),
    )  # fmt: skip
    return writer


def _told(settings: Settings) -> str:
    """The model as captions tell it: without paths of this machine."""
    folder = Path(settings.model)
    if not folder.is_dir():
        return settings.told_model
    return f"{folder.resolve().name}@{settings.revision or _weights_sha256(folder.resolve())[:12]}"


@cache
def _weights_sha256(folder: Path) -> str:
    """Of everything that decides what the model writes; reads all weights once per process."""
    files = sorted(p for p in folder.iterdir() if p.suffix in (".json", ".jinja", ".safetensors"))
    return sha256_of_value({path.name: sha256_of(path) for path in files})
