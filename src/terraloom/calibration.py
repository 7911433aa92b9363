"""Calibration: what a labeller calls 0.9 should be right nine times out of ten.

One number, the temperature, divides the logits before the softmax (Guo et al. 2017, "On Calibration
of Modern Neural Networks", section 4.2): it changes how sure the labeller is and no label.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from terraloom.dataset.rows import ValRows
from terraloom.errors import RoleError
from terraloom.files import write_json
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenting import CALIBRATION, TrainedSegmenter
from terraloom.types import Float32Array, Int64Array

PIXELS: Final = 200_000
"""Val pixels that the temperature is fitted on, whatever the number of rows."""
BINS: Final = 15
"""Of equal width in confidence, as by Guo et al."""
_RANGE: Final = (0.05, 20.0)
_DIGITS: Final = 4


def calibrate(
    segmenter: TrainedSegmenter, val: ValRows, folder: Path, seed: int, pixels: int = PIXELS
) -> dict[str, Any]:
    """Fit the temperature of a labeller on val and write `calibration.json` into its folder.

    What it is worth is measured on places that it was not fitted on: the val places are halved, and
    each half is judged at the temperature of the other. Memory does not grow with the rows.

    Args:
        segmenter: uncalibrated (temperature 1).
        val: rows that may steer.
        folder: of the labeller.
        seed: of the drawn pixels and of the halves.
        pixels: drawn at most.

    Returns:
        The file's content: temperature; per "before" and "after" the mean negative log likelihood
        in nats, the expected calibration error (0 … 1) and the bins; numbers of pixels, rows and
        places; whether "after" is held out (it cannot be with a single place).

    Raises:
        RoleError: the rows are not val rows.
    """
    if not isinstance(val, ValRows):
        raise RoleError("a temperature is fitted on ValRows only.")
    logits, truth, place = _drawn(segmenter, val, pixels, seed)
    temperature = fit_temperature(logits, truth)
    places = np.unique(place)
    halves = np.isin(place, generator_at(seed, "halves").permutation(places)[: len(places) // 2])
    after = np.full(len(truth), temperature)
    held_out = len(places) > 1
    if held_out:
        after[halves] = fit_temperature(logits[~halves], truth[~halves])
        after[~halves] = fit_temperature(logits[halves], truth[halves])
    found = {
        "temperature": temperature,
        "before": reliability(logits, truth, np.ones(len(truth))),
        "after": reliability(logits, truth, after),
        "after_is_held_out": held_out,
        "pixels": len(truth),
        "rows": len(val),
        "places": len(places),
    }
    write_json(folder / CALIBRATION, found)
    return found


def fit_temperature(logits: Float32Array, truth: Int64Array) -> float:
    """The temperature of the smallest mean negative log likelihood, to 4 digits.

    Args:
        logits: "pixel class".
        truth: labels, "pixel".
    """
    if not len(truth):
        return 1.0
    found = minimize_scalar(
        lambda log: _nll(logits, truth, np.full(len(truth), np.exp(log))),
        bounds=tuple(np.log(_RANGE)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return round(float(np.exp(found.x)), _DIGITS)


def reliability(
    logits: Float32Array, truth: Int64Array, temperature: NDArray[np.float64]
) -> dict[str, Any]:
    """How far confidence lies from accuracy.

    Args:
        logits: "pixel class".
        truth: labels, "pixel".
        temperature: of each pixel.

    Returns:
        nll, ece (mean over pixels of |accuracy − confidence| of their bin, Guo et al. equation 3),
        and the bins that hold a pixel: mean confidence, accuracy, pixels.
    """
    chances = np.exp(log_softmax(logits / temperature[:, None], axis=1))
    confidence = chances.max(axis=1)
    right = chances.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bin_of, minlength=BINS)
    sure = np.bincount(bin_of, confidence, minlength=BINS) / np.maximum(counts, 1)
    true = np.bincount(bin_of, right, minlength=BINS) / np.maximum(counts, 1)
    return {
        "nll": round(_nll(logits, truth, temperature), 6),
        "ece": round(float((counts * np.abs(true - sure)).sum() / max(1, counts.sum())), 6),
        "bins": [
            {
                "confidence": round(float(sure[i]), 5),
                "accuracy": round(float(true[i]), 5),
                "pixels": int(counts[i]),
            }
            for i in np.flatnonzero(counts)
        ],
    }


def told(calibration: Mapping[str, Any]) -> str:
    """One line for the terminal."""
    before, after = calibration["before"]["ece"], calibration["after"]["ece"]
    how = "on places held out" if calibration["after_is_held_out"] else "on the rows it was fitted"
    return (
        f"temperature {calibration['temperature']:.2f}: confidence lies {100 * before:.1f} points "
        f"from accuracy without it, {100 * after:.1f} with it ({how})"
    )


def _nll(logits: Float32Array, truth: Int64Array, temperature: NDArray[np.float64]) -> float:
    likelihood = log_softmax(logits / temperature[:, None], axis=1)
    return float(-likelihood[np.arange(len(truth)), truth].mean())


def _drawn(
    segmenter: TrainedSegmenter, val: ValRows, pixels: int, seed: int
) -> tuple[Float32Array, Int64Array, NDArray[np.str_]]:
    """Logits, labels and places of known pixels, equally many of each row as far as it has them."""
    order = generator_at(seed, "rows").permutation(len(val))[:pixels]
    each = -(-pixels // max(1, len(order)))
    logits, truth, places = [], [], []
    for index in np.sort(order):
        row = val[int(index)]
        known = np.flatnonzero(row.mask.ravel() < segmenter.num_classes)
        random = np.random.default_rng(derive_seed(seed, "pixels", row.id))
        chosen = np.sort(random.permutation(known)[:each])
        seen = segmenter.logits([row.image])[0].reshape(segmenter.num_classes, -1)
        logits.append(seen[:, chosen].T)
        truth.append(row.mask.ravel()[chosen].astype(np.int64))
        places.append(np.full(len(chosen), row.place or row.id))
    return np.concatenate(logits), np.concatenate(truth), np.concatenate(places)
