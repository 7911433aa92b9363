"""Retrieval figures of a similarity matrix, beside chance and a shuffled control.

Recall at k as in image–text retrieval: an image is found by a text if it ranks among the k images
most similar to it; a text of an image is found if any of the image's texts ranks among the k most
similar texts. Ties count half, so that a constant similarity gives chance.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.special import gammaln

from terraloom.seeds import generator_at
from terraloom.types import Float32Array, Float64Array, Int64Array

AT: Final = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Recall:
    """One direction of retrieval; parts 0 … 1 at the ranks of `AT`."""

    found: tuple[float, ...]
    shuffled: tuple[float, ...]
    """The same with texts dealt out to other images."""
    chance: tuple[float, ...]
    """Of a random order, exactly."""
    median_rank: float
    """Median over the queries, 1 is best."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to four places."""
        return {
            **{f"recall_{k}": round(v, 4) for k, v in zip(AT, self.found, strict=True)},
            **{f"shuffled_{k}": round(v, 4) for k, v in zip(AT, self.shuffled, strict=True)},
            **{f"chance_{k}": round(v, 4) for k, v in zip(AT, self.chance, strict=True)},
            "median_rank": round(self.median_rank, 1),
        }


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Both directions over one set of images and their texts."""

    images: int
    texts: int
    text_of_image: Recall
    """Query is an image, texts are ranked."""
    image_of_text: Recall
    """Query is a text, images are ranked."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "images": self.images,
            "texts": self.texts,
            "text_of_image": self.text_of_image.to_json(),
            "image_of_text": self.image_of_text.to_json(),
        }


def retrieve(
    images: Float32Array, texts: Float32Array, owner: Int64Array, *, seed: int
) -> Retrieval:
    """Retrieval figures of embedded images and texts.

    Args:
        images: unit vectors, float32 "image feature".
        texts: unit vectors, float32 "text feature".
        owner: number of the image that each text tells of; every image has a text.
        seed: of the shuffled control.

    Raises:
        ValueError: there are no images, or an image has no text.
    """
    if not len(images) or len(np.unique(owner)) != len(images):
        raise ValueError("retrieval needs images that all have a text")
    similarity = images @ texts.T
    dealt = owner[generator_at(seed, "retrieval", len(images)).permutation(len(owner))]
    return Retrieval(
        images=len(images),
        texts=len(texts),
        text_of_image=Recall(
            _at(_text_ranks(similarity, owner)),
            _at(_text_ranks(similarity, dealt)),
            tuple(_any_of(np.bincount(owner), len(texts), k) for k in AT),
            float(np.median(_text_ranks(similarity, owner))),
        ),
        image_of_text=Recall(
            _at(_image_ranks(similarity, owner)),
            _at(_image_ranks(similarity, dealt)),
            tuple(min(k / len(images), 1.0) for k in AT),
            float(np.median(_image_ranks(similarity, owner))),
        ),
    )


def part_preferred(own: Float32Array, others: Float32Array) -> Float64Array:
    """Part of other texts' similarities above each own one, ties half: 0 is best, 0.5 chance.

    Args:
        own: similarity of an image with its texts, "text".
        others: similarity of the same image with texts of other images, "other"; not empty.
    """
    above = (others[None] > own[:, None]).mean(axis=1)
    equal = (others[None] == own[:, None]).mean(axis=1)
    part: Float64Array = above + equal / 2
    return part


def _image_ranks(similarity: Float32Array, owner: Int64Array) -> Float64Array:
    own = similarity[owner, np.arange(len(owner))]
    return _ranks((similarity > own).sum(axis=0), (similarity == own).sum(axis=0))


def _text_ranks(similarity: Float32Array, owner: Int64Array) -> Float64Array:
    """Rank of each image's best text."""
    ranks = np.full(len(similarity), np.nan)
    for image in range(len(similarity)):
        row = similarity[image]
        mine = row[owner == image]
        if len(mine):
            best = mine.max()
            above, equal = (row > best).sum(), (row == best).sum() - (mine == best).sum() + 1
            ranks[image] = _ranks(np.array([above]), np.array([equal]))[0]
    known: Float64Array = ranks[~np.isnan(ranks)]
    return known


def _ranks(above: Int64Array, equal: Int64Array) -> Float64Array:
    """Ranks from 1; among equals the middle."""
    middle: Float64Array = above + (equal + 1) / 2
    return middle


def _at(ranks: Float64Array) -> tuple[float, ...]:
    return tuple(float((ranks <= k).mean()) for k in AT)


def _any_of(own: Int64Array, total: int, k: int) -> float:
    """Chance that any of an image's texts is among k of all, mean over images."""
    if k >= total:
        return 1.0
    others = total - own
    logs = (
        gammaln(others + 1)
        - gammaln(np.maximum(others - k, 0) + 1)
        - gammaln(total + 1)
        + gammaln(total - k + 1)
    )
    missed = np.where(others < k, 0.0, np.exp(logs))
    return float(1 - missed.mean())
