"""Tiny random models on disk, as publishers lay them out: a causal one and two that see images.

Their tokens are two dozen words, so whatever they write could be a caption.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from terraloom.learning._torchvision_repair import repair_torchvision

repair_torchvision()  # before transformers looks for it

from transformers import (  # noqa: E402 - see above
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

WORDS = (
    "trees", "fields", "meadows", "water", "roads", "houses", "hedges", "dunes", "orchards",
    "marshes", "slopes", "valleys", "shores", "gardens", "rocks", "plains", "mostly", "beside",
    "along", "with", "and", "some", "few", "many", "wide", "narrow", "open", "dense",
)  # fmt: skip
ROLES = ["system", "user", "assistant"]
SPECIAL = (
    "<pad>", "<bos>", "<eos>", "<unk>", "<image>", "<boi>", "<eoi>", "<|vision_start|>",
    "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}<bos>{{ m['role'] }} "
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %} {{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %} <eos>{% endfor %}"
    "{% if add_generation_prompt %}<bos>assistant {% endif %}"
)
IMAGE_IN_TEMPLATE = {
    "causal": "", "gemma": "<boi>", "qwen": "<|vision_start|><|image_pad|><|vision_end|>",
}  # fmt: skip
EXTRA = {
    "causal": list(SPECIAL[4:]),
    "gemma": {"image_token": "<image>", "boi_token": "<boi>", "eoi_token": "<eoi>"},
    "qwen": {
        "image_token": "<|image_pad|>", "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>", "vision_end_token": "<|vision_end|>",
    },
}  # fmt: skip
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3,
    "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "tie_word_embeddings": False,
}  # fmt: skip


def tokenizer(kind: str, template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *ROLES, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    told = {} if template is None else {
        "chat_template": template.replace("IMAGE", IMAGE_IN_TEMPLATE[kind])
    }  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        unk_token="<unk>", extra_special_tokens=EXTRA[kind], **told,
    )  # fmt: skip


def save_tiny(kind: str, folder: Path, template: str | None = TEMPLATE) -> Path:
    """A model of one kind (causal, gemma, qwen) with its tokenizer or processor."""
    torch.manual_seed(0)
    words = tokenizer(kind, template)
    size = {"vocab_size": len(words)}
    ids = words.convert_tokens_to_ids
    if kind == "causal":
        model = Qwen3ForCausalLM(Qwen3Config(**TEXT, **size))
        words.save_pretrained(folder)
    elif kind == "gemma":
        model = Gemma3ForConditionalGeneration(
            Gemma3Config(
                text_config=TEXT | size | {"sliding_window": 64},
                vision_config={
                    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
                    "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
                },
                mm_tokens_per_image=4,
                boi_token_index=ids("<boi>"),
                eoi_token_index=ids("<eoi>"),
                image_token_index=ids("<image>"),
                initializer_range=0.3,
                tie_word_embeddings=False,
            )
        )  # fmt: skip
        projector = model.model.multi_modal_projector.mm_input_projection_weight
        torch.nn.init.normal_(projector, std=0.5)  # zeros by default, which would hide the image
        Gemma3Processor(
            Gemma3ImageProcessor(size={"height": 32, "width": 32}), words, image_seq_length=4,
            chat_template=words.chat_template,
        ).save_pretrained(folder)  # fmt: skip
    else:
        model = Qwen3VLForConditionalGeneration(
            Qwen3VLConfig(
                text_config=TEXT | size | {
                    "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]}
                },
                vision_config={
                    "depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2,
                    "patch_size": 8, "spatial_merge_size": 2, "out_hidden_size": 32,
                    "num_position_embeddings": 16, "deepstack_visual_indexes": [],
                },
                image_token_id=ids("<|image_pad|>"),
                video_token_id=ids("<|video_pad|>"),
                vision_start_token_id=ids("<|vision_start|>"),
                vision_end_token_id=ids("<|vision_end|>"),
                tie_word_embeddings=False,
            )
        )  # fmt: skip
        pixels = {"patch_size": 8, "merge_size": 2, "min_pixels": 256, "max_pixels": 4096}
        Qwen3VLProcessor(
            Qwen2VLImageProcessor(**pixels), words, Qwen3VLVideoProcessor(**pixels),
            chat_template=words.chat_template,
        ).save_pretrained(folder)  # fmt: skip
    # Scores near each other and several tokens that end a text: short, varied captions.
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(0.4)
    model.generation_config.eos_token_id = [2, 4, 5, 6]
    model.save_pretrained(folder)
    return folder
