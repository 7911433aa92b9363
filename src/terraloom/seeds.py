"""Addressed randomness: every random draw has an address, none depends on what ran before.

A stream is named by (seed, words and numbers), so sample 17 is the same in any batch, step 400 is
the same after a resume, and adding a consumer never shifts another's draws.
"""

import hashlib

import numpy as np


def derive_seed(seed: int, *address: int | str) -> int:
    """A 63-bit seed for the given address under `seed`; equal inputs give equal seeds anywhere."""
    text = "\x1f".join([str(seed), *(f"{type(a).__name__}:{a}" for a in address)])
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_at(seed: int, *address: int | str) -> np.random.Generator:
    """A NumPy generator that stands at the start of the addressed stream."""
    return np.random.default_rng(derive_seed(seed, *address))
