"""CLIP models of a few thousand weights, written as a user's folders would be."""

import json

import torch
from safetensors.torch import save_file

from terraloom.learning._torchvision_repair import repair_torchvision

repair_torchvision()  # before transformers or open_clip look for torchvision

LETTERS = "abcdefghijklmnopqrstuvwxyz.,'-"


def write_transformers(folder):
    """A random CLIP of transformers with a tokenizer of letters."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizer,
    )

    folder.mkdir(parents=True, exist_ok=True)
    words = [*LETTERS, *(f"{sign}</w>" for sign in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nt r\n")
    vocabulary["tr"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    end = vocabulary["<|endoftext|>"]
    sides = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config=sides | {"vocab_size": len(vocabulary), "max_position_embeddings": 77,
                                 "bos_token_id": end - 1, "eos_token_id": end,
                                 "pad_token_id": end},
            vision_config=sides | {"image_size": 32, "patch_size": 8},
            projection_dim=12,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    size = {"shortest_edge": 32}
    images = CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def write_open_clip(folder):
    """A random CLIP of open_clip with its own tokenizer."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "embed_dim": 12,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 16,
            "head_width": 8,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 2,
        },
    }
    torch.manual_seed(1)
    model = open_clip.CLIP(**config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    mean_and_deviation = {"mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": mean_and_deviation})
    )
    return folder
