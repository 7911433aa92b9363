"""Calibration: what a labeller calls 0.9 should be right nine times out of ten.

One number, the temperature, divides the logits before the softmax (Guo et al. 2017, "On Calibration
of Modern Neural Networks", section 4.2): it changes how sure the labeller is and no label. Several
looks are averaged first and calibrated as one, with a temperature of the mean (Rahaman and Thiery
2021, "Uncertainty Quantification and Deep Ensembles": means of calibrated members are unsure).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from terraloom.dataset.rows import Row, ValRows
from terraloom.ensemble import Ensemble
from terraloom.errors import RoleError
from terraloom.files import read_json, write_json
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenting import CALIBRATION
from terraloom.types import Float32Array, ImageU8, Int64Array

PIXELS: Final = 200_000
"""Val pixels that the temperature is fitted on, whatever the number of rows."""
ROWS: Final = 2_000
"""Val rows that they are drawn from at most, so that time does not grow with the rows either."""
BINS: Final = 15
"""Of equal width in confidence, as by Guo et al."""
_RANGE: Final = (0.05, 20.0)
_DIGITS: Final = 4
_BATCH: Final = 16


class Looker(Protocol):
    """What can be calibrated: a trained segmenter, or several that look together."""

    @property
    def num_classes(self) -> int:
        """Classes that it tells apart."""

    def logits(self, images: Sequence[ImageU8]) -> Float32Array:
        """Before any temperature, "image class height width"; images of one size."""


def calibrate(
    looker: Looker, val: ValRows, folder: Path, seed: int, pixels: int = PIXELS
) -> dict[str, Any]:
    """Fit the temperature of a labeller on val and write `calibration.json` into its folder.

    What it is worth is measured on places that it was not fitted on: the val places are halved, and
    each half is judged at the temperature of the other. Neither memory nor, beyond 2,000 rows, time
    grows with the rows.

    Args:
        looker: its logits are taken, so that a temperature which it has already plays no part.
        val: rows that may steer; without a known pixel in them, the temperature stays 1.
        folder: of the labeller.
        seed: of the drawn rows and pixels, and of the halves.
        pixels: drawn at most.

    Returns:
        The file's content: `temperature`; `before` and `after` as `reliability` tells, None without
        a pixel; numbers of drawn `pixels`, and of `rows` and `places` that they come from;
        `after_is_held_out`, which it cannot be with a single place; `confusion` "truth predicted"
        over all known pixels of those rows.

    Raises:
        RoleError: the rows are not val rows.
    """
    if not isinstance(val, ValRows):
        raise RoleError("a temperature is fitted on ValRows only.")
    logits, truth, place, confusion = _drawn(looker, val, pixels, seed)
    counts = {
        "pixels": len(truth),
        "rows": min(len(val), pixels, ROWS),
        "places": len(set(place.tolist())),
        "confusion": confusion.tolist(),
    }
    if not len(truth):
        nothing = {"temperature": 1.0, "before": None, "after": None, "after_is_held_out": False}
        write_json(folder / CALIBRATION, nothing | counts)
        return nothing | counts
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
        **counts,
    }
    write_json(folder / CALIBRATION, found)
    return found


def calibrate_together(ensemble: Ensemble, val: ValRows, folder: Path, seed: int) -> Ensemble:
    """Several looks, averaged as the networks say them, with one temperature of their mean.

    A single look is handed back as it is: the labeller's own temperature holds.

    Args:
        ensemble: labellers, calibrated or not; their own temperatures are left out of the mean, or
            places would be judged that had a part in fitting them.
        val: as in `calibrate`.
        folder: receives `calibration.json`; what a resumed stage left there is read.
        seed: as in `calibrate`.
    """
    if ensemble.looks == 1:
        return ensemble
    raw = replace(
        ensemble, members=tuple(replace(member, temperature=1.0) for member in ensemble.members)
    )
    path = folder / CALIBRATION
    found = read_json(path) if path.exists() else calibrate(raw, val, folder, seed)
    return replace(raw, temperature=float(found["temperature"]))


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
        `nll`, mean negative log likelihood in nats; `ece`, expected calibration error, 0 … 1 (mean
        over pixels of |accuracy − confidence| of their bin, Guo et al. equation 3); `bins` of equal
        width that hold a pixel: mean confidence, accuracy, pixels; `classes`, the same per class
        that is named, in label order, with None where a class is never named.
    """
    chances = np.exp(log_softmax(logits / temperature[:, None], axis=1))
    confidence = chances.max(axis=1)
    label = chances.argmax(axis=1)
    right = label == truth
    bin_of = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    bins = [entry for entry in _means(bin_of, confidence, right, BINS) if entry["pixels"]]
    # Of the exact means, not of the rounded ones that are shown.
    gap = np.abs(np.bincount(bin_of, right - confidence, minlength=BINS)).sum()
    return {
        "nll": round(_nll(logits, truth, temperature), 6),
        "ece": round(float(gap / max(1, len(truth))), 6),
        "bins": bins,
        "classes": _means(label, confidence, right, logits.shape[1]),
    }


def _means(
    group: Int64Array, confidence: NDArray[np.float64], right: NDArray[np.bool_], groups: int
) -> list[dict[str, Any]]:
    counts = np.bincount(group, minlength=groups)
    sure = np.bincount(group, confidence, minlength=groups)
    true = np.bincount(group, right, minlength=groups)
    return [
        {
            "confidence": round(float(sure[i] / counts[i]), 5) if counts[i] else None,
            "accuracy": round(float(true[i] / counts[i]), 5) if counts[i] else None,
            "pixels": int(counts[i]),
        }
        for i in range(groups)
    ]


def told(calibration: Mapping[str, Any]) -> str:
    """One line for the terminal."""
    if not calibration["pixels"]:
        return "not calibrated: val holds no known pixel"
    before, after = calibration["before"]["ece"], calibration["after"]["ece"]
    how = "on places held out" if calibration["after_is_held_out"] else "on the rows it was fitted"
    low, high = _RANGE
    # The search stops short of its limits by its tolerance.
    end = calibration["temperature"] < 1.01 * low or calibration["temperature"] > 0.99 * high
    return (
        f"temperature {calibration['temperature']:.2f}{' (the limit of the search)' * end}: "
        f"confidence lies {100 * before:.1f} points "
        f"from accuracy without it, {100 * after:.1f} with it ({how})"
    )


def _nll(logits: Float32Array, truth: Int64Array, temperature: NDArray[np.float64]) -> float:
    likelihood = log_softmax(logits / temperature[:, None], axis=1)
    return float(-likelihood[np.arange(len(truth)), truth].mean())


def _drawn(
    looker: Looker, val: ValRows, pixels: int, seed: int
) -> tuple[Float32Array, Int64Array, NDArray[np.str_], Int64Array]:
    """Logits, labels and places of known pixels, equally many of each row as far as it has them.

    The last value is the confusion matrix "truth predicted" of all known pixels of those rows.
    """
    classes = looker.num_classes
    order = generator_at(seed, "rows").permutation(len(val))[: min(pixels, ROWS)]
    each = -(-pixels // max(1, len(order)))
    logits = [np.empty((0, classes), dtype=np.float32)]
    truth = [np.empty(0, dtype=np.int64)]
    places = [np.empty(0, dtype=np.str_)]
    confusion = np.zeros(classes * classes, dtype=np.int64)
    for rows in _batches(val, np.sort(order)):
        for row, seen in zip(rows, looker.logits([row.image for row in rows]), strict=True):
            labels = row.mask.ravel().astype(np.int64)
            flat = seen.reshape(classes, -1)
            known = np.flatnonzero(labels < classes)
            pairs = labels[known] * classes + flat[:, known].argmax(axis=0)
            confusion += np.bincount(pairs, minlength=len(confusion))
            random = np.random.default_rng(derive_seed(seed, "pixels", row.id))
            chosen = np.sort(random.permutation(known)[:each])
            logits.append(flat[:, chosen].T)
            truth.append(labels[chosen])
            places.append(np.full(len(chosen), row.place or row.id))
    return (
        np.concatenate(logits),
        np.concatenate(truth),
        np.concatenate(places),
        confusion.reshape(classes, classes),
    )


def _batches(val: ValRows, order: Int64Array) -> Iterator[list[Row]]:
    """Neighbours of one size, a few at a time."""
    rows = (val[int(index)] for index in order)
    for _, group in groupby(rows, key=lambda row: row.mask.shape):
        batch: list[Row] = []
        for row in group:
            batch.append(row)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch
