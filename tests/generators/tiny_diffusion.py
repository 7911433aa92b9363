"""Latent diffusion models of a few thousand weights, written as a user's folders would be."""

import json
from pathlib import Path

import torch

from terraloom.learning._torchvision_repair import repair_torchvision

repair_torchvision()  # before diffusers or transformers look for torchvision

FEATURES = 16
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_model(folder: Path, *, text: bool = False, seed: int = 0, halvings: int = 1, **schedule):
    """Random autoencoder, UNet and schedule in diffusers' layout; `text` adds an encoder."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(seed)
    levels = halvings + 1
    AutoencoderKL(
        block_out_channels=(8, 16, 16, 16)[:levels],
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
    ).save_pretrained(folder / "vae")
    UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=FEATURES,
        attention_head_dim=4,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    # As Stable Diffusion's, but for what a test changes.
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    offsets = {"steps_offset": 1, "set_alpha_to_one": False}
    DDIMScheduler(**(betas | offsets | schedule)).save_pretrained(folder / "scheduler")
    if text:
        _write_text_encoder(folder)
    return folder


def _write_text_encoder(folder: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = [*LETTERS, *(f"{sign}</w>" for sign in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    place = folder / "tokenizer"
    place.mkdir(parents=True)
    (place / "vocab.json").write_text(json.dumps(vocabulary))
    (place / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(place).save_pretrained(place)
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=FEATURES,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=12,
            bos_token_id=vocabulary["<|startoftext|>"],
            eos_token_id=vocabulary["<|endoftext|>"],
            pad_token_id=vocabulary["<|endoftext|>"],
        )
    ).save_pretrained(folder / "text_encoder")
