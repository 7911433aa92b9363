"""Generation with a local model: chat template, batches, inputs made ahead, one seed per caption.

Sampling takes the likeliest token after Gumbel noise is added to the filtered scores, which draws
from the same distribution (Maddison, Tarlow and Minka 2014, A* Sampling, section 2). The noise
comes from a generator per caption, so batch mates share no random numbers. What is left of them is
padding: it changes the last digits of scores, and with them, rarely, a token. Equal batches on
equal hardware give equal captions; other batch sizes nearly always do.
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from terraloom.captioners._model_writer import Reply, Request, Trouble
from terraloom.captioners._prompts import Decoding, Prompt
from terraloom.errors import BadCheckpoint, InputError, RunError, SettingsError
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.learning.published_weights import check_safetensors, told_clearly

_OTHERWISE: Final = "or let a server run it ([captioners.openai])"


@dataclass(frozen=True)
class LoadedModel:
    """A model and what makes its inputs."""

    name: str
    model: Any
    processor: Any
    """A processor where the model sees images, else a tokenizer."""
    tokenizer: Any
    template: str
    """The chat template."""
    is_multimodal: bool
    """Whether messages are lists of parts."""
    device: torch.device
    eos: tuple[int, ...]
    pad: int


def load_model(
    name: str, revision: str | None, *, sees_images: bool, device: str, dtype: str
) -> LoadedModel:
    """Load a model by id or folder, from safetensors alone and without foreign code.

    Args:
        name: id on the hub, or folder.
        revision: branch, tag or commit of an id.
        sees_images: whether prompts hold images.
        device: auto, cpu or cuda.
        dtype: auto, float32, bfloat16 or float16.

    Raises:
        WeightsUnavailable: it is neither there nor to be had, or has no safetensors.
        BadCheckpoint: its weights are damaged or not whole.
        InputError: it is not fit for these prompts.
        SettingsError: the package is not installed, or there is no GPU.
    """
    repair_torchvision()  # image processors import it
    try:
        import transformers
    except ImportError as error:
        raise SettingsError(
            "captioners.transformers needs a package that is not installed; run: "
            'pip install "terraloom[transformers]".'
        ) from error
    transformers.utils.logging.disable_progress_bar()
    if Path(name).is_dir():
        check_safetensors(Path(name))
    common: dict[str, Any] = {"trust_remote_code": False}
    if not Path(name).is_dir():
        common["revision"] = revision or "main"
    where = _device(device)
    with told_clearly(name, f"the model {name}", _OTHERWISE):
        config = transformers.AutoConfig.from_pretrained(name, **common)
        multimodal = type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        if sees_images and not multimodal:
            raise InputError(
                f"{name} is a model of type {config.model_type!r}, which sees no images. Set "
                'mode = "language" under [captioners.transformers], or name a model that does.'
            )
        auto = (
            transformers.AutoModelForImageTextToText
            if multimodal
            else transformers.AutoModelForCausalLM
        )
        model, loading = auto.from_pretrained(
            name,
            use_safetensors=True,
            dtype=_dtype(dtype, where),
            output_loading_info=True,
            **common,
        )
        maker = transformers.AutoProcessor if multimodal else transformers.AutoTokenizer
        processor = maker.from_pretrained(name, **common)
    if loading["missing_keys"] or loading["mismatched_keys"]:
        # The library would fill them with random numbers and go on.
        missing = sorted(str(k) for k in (*loading["missing_keys"], *loading["mismatched_keys"]))
        raise BadCheckpoint(
            f"the weights of {name} lack {len(missing)} tensors or have them in other shapes: "
            f"{', '.join(missing[:4])}. Copy the whole folder again."
        )
    tokenizer = processor.tokenizer if multimodal else processor
    tokenizer.padding_side = "left"
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise InputError(
            f"{name} has no chat template, so it is no model that answers. Name its instruction "
            "edition."
        )
    ends = model.generation_config.eos_token_id
    eos = tuple(ends) if isinstance(ends, list) else (ends,)
    if None in eos:
        eos = (tokenizer.eos_token_id,)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos[0]
    return LoadedModel(
        name, model.to(where).eval(), processor, tokenizer, template, multimodal, where, eos, pad
    )


class TransformersBackend:
    """Writes captions in batches.

    Args:
        loaded: the model.
        batch_size: captions at once.
        prefetch: batches of inputs made ahead, by one thread.
        template_options: for the chat template.
    """

    secret = None

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        batch_size: int,
        prefetch: int,
        template_options: dict[str, Any],
    ) -> None:
        self.loaded = loaded
        self.batch_size = batch_size
        self.prefetch = prefetch
        # What a template does not know would be taken for an option of the processor.
        known = loaded.template
        self._options = {name: v for name, v in template_options.items() if name in known}

    def complete(
        self, requests: Sequence[Request]
    ) -> Generator[tuple[Request, Reply | Trouble], None, None]:
        """See Backend."""
        batches = [
            list(requests[start : start + self.batch_size])
            for start in range(0, len(requests), self.batch_size)
        ]
        for batch, inputs in self._prepared(batches):
            yield from zip(batch, self._generate(batch, inputs), strict=True)

    def _prepared(self, batches: Sequence[list[Request]]) -> Iterator[tuple[list[Request], Any]]:
        """Batches with their inputs, of which the next few are made while one is worked on."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="inputs")
        ahead: deque[tuple[list[Request], Future[Any]]] = deque()
        try:
            for batch in batches:
                ahead.append((batch, pool.submit(self._inputs, batch)))
                if len(ahead) > self.prefetch:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                first, future = ahead.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _inputs(self, batch: Sequence[Request]) -> Any:  # noqa: ANN401 - the library's type
        conversations = [self._messages(request.prompt) for request in batch]
        try:
            return self._templated(conversations)
        except Exception as error:
            if type(error).__name__ != "TemplateError":
                raise
            # Some templates know no system role: its text then opens the first user turn.
            return self._templated([_without_system(messages) for messages in conversations])

    def _templated(self, conversations: list[list[dict[str, Any]]]) -> Any:  # noqa: ANN401
        padded = {"padding": True, "return_tensors": "pt"}
        how = {"processor_kwargs": padded} if self.loaded.is_multimodal else padded
        return self.loaded.processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            add_generation_prompt=True,
            **how,
            **self._options,
        )

    def _messages(self, prompt: Prompt) -> list[dict[str, Any]]:
        if not self.loaded.is_multimodal:
            return [{"role": turn.role, "content": turn.text} for turn in prompt.turns]
        from PIL import Image

        image = prompt.image
        messages = []
        for turn in prompt.turns:
            content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}]
            if turn.role == "user" and image is not None:
                content.insert(0, {"type": "image", "image": Image.fromarray(image)})
                image = None
            messages.append({"role": turn.role, "content": content})
        return messages

    def _generate(self, batch: Sequence[Request], inputs: Any) -> list[Reply]:  # noqa: ANN401
        from transformers import GenerationConfig, LogitsProcessorList

        loaded = self.loaded
        decoding = batch[0].decoding
        inputs = inputs.to(loaded.device)
        length = inputs["input_ids"].shape[1]
        seeds = [request.seed for request in batch]
        drawn = [SeededSampling(decoding, seeds, loaded.device)] if decoding.temperature else []
        settings = GenerationConfig(
            max_new_tokens=decoding.max_tokens,
            do_sample=False,
            eos_token_id=list(loaded.eos),
            pad_token_id=loaded.pad,
        )
        # What a publisher ships (top-k, penalties) would else be mixed in, and the record be wrong.
        loaded.model.generation_config = settings
        try:
            with torch.inference_mode():
                tokens = loaded.model.generate(
                    **inputs,
                    generation_config=settings,
                    logits_processor=LogitsProcessorList(drawn),
                )
        except torch.cuda.OutOfMemoryError as error:
            raise RunError(
                f"the GPU has no memory for {len(batch)} captions at once. Set a smaller "
                "batch_size under [captioners.transformers] and run the same command again; "
                "captions that are there stay."
            ) from error
        return [self._reply(row[length:]) for row in tokens]

    def _reply(self, tokens: Tensor) -> Reply:
        written = tokens.tolist()
        ended = any(token in self.loaded.eos for token in written)
        text = self.loaded.tokenizer.decode(written, skip_special_tokens=True)
        return Reply(str(text), "stop" if ended else "length")


class SeededSampling:
    """Makes greedy decoding sample: temperature, nucleus, then Gumbel noise by seed of the row."""

    def __init__(self, decoding: Decoding, seeds: Sequence[int], device: torch.device) -> None:
        self._temperature = decoding.temperature
        self._top_p = decoding.top_p
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Noisy scores, "row token", whose largest is a sample of the row's distribution."""
        scaled = nucleus(scores.float() / self._temperature, self._top_p)
        noise = torch.empty_like(scaled)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        # −log E is Gumbel for E exponential; the smallest float keeps it finite.
        noisy: Tensor = scaled - noise.clamp_min(torch.finfo(noise.dtype).tiny).log()
        return noisy


def nucleus(scores: Tensor, top_p: float) -> Tensor:
    """Scores of the fewest likeliest tokens that hold `top_p` of the probability; others −inf.

    Source: Holtzman et al. 2020, The Curious Case of Neural Text Degeneration, equation 2.
    """
    if top_p >= 1:
        return scores
    ordered, index = scores.sort(dim=-1, descending=True)
    chances = ordered.softmax(dim=-1)
    before = chances.cumsum(dim=-1) - chances
    ordered = ordered.masked_fill(before >= top_p, float("-inf"))
    return torch.empty_like(scores).scatter_(-1, index, ordered)


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The system turn's text at the head of the first user turn."""
    if not messages or messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    if isinstance(first["content"], str):
        content: Any = f"{system['content']}\n\n{first['content']}"
    else:
        content = [*system["content"], *first["content"]]
    return [{**first, "content": content}, *rest]


def _device(device: str) -> torch.device:
    if device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            'captioners.transformers has device = "cuda", and there is no GPU here. Set "auto".'
        )
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def _dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype != "auto":
        return {
            "float32": torch.float32,
            "bfloat16": torch.bfloat16,
            "float16": torch.float16,
        }[dtype]
    gains = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if gains else torch.float32
