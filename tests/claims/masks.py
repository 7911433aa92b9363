"""Masks of every entropy: one class, a few fields, a fine mixture, a river, unknown parts."""

import numpy as np
from scipy import ndimage


def drawn_mask(seed: int, size: int = 64, num_classes: int = 7) -> np.ndarray:
    """A mask with labels of 0 … `num_classes` − 1, or 255 in one out of six."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, num_classes + 1)) if seed % 6 else 1
    labels = rng.permutation(num_classes)[:count]
    grain = float(rng.choice([0.7, 2, 4, 8, 16]))
    fields = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=(size, size)), grain) for _ in range(count)]
    )
    fields /= fields.std(axis=(1, 2), keepdims=True) + 1e-9
    fields += rng.normal(0, 0.8, (count, 1, 1))
    mask: np.ndarray = labels[fields.argmax(axis=0)].astype(np.uint8)
    match seed % 6:
        case 3:
            mask[:, : size // 2] = labels[0]
        case 4:
            row = int(rng.integers(size // 4, 3 * size // 4))
            mask[row : row + 3] = labels[-1]
        case 5:
            mask[: int(rng.integers(0, size // 2))] = 255
    return mask
