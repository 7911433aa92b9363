"""Redundancy of a caption corpus: how much of it is said more than once.

The published figure is 1 − unique captions / captions over the whole corpus. It grows with the
corpus, so two corpora compare only at equal counts (`rarefied_redundancy`); and it hides whether
an image repeats itself or the images repeat each other, so both are told apart here.
"""

import hashlib
import random
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_NOT_WORD: Final = re.compile(r"[\W_]+")
_ASCII_SIGNS: Final = {code: " " for code in range(128) if not chr(code).isalnum()}
_KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Redundancy:
    """How often the captions of a corpus repeat; every ratio lies in 0 … 1, lower is better."""

    captions: int
    unique: int

    @property
    def redundancy(self) -> float:
        """1 − unique / captions; 0 for an empty corpus."""
        return 1 - self.unique / self.captions if self.captions else 0.0


@dataclass(frozen=True, slots=True)
class SplitRedundancy:
    """Redundancy of captions whose images are known, split by where the repeat lies.

    `within + across` is `exact.redundancy`: each repeated caption is counted once, within its
    image where that one said it before, across images otherwise.
    """

    exact: Redundancy
    normalised: Redundancy
    """After `norm_caption`: case, punctuation and white space folded."""
    images: int
    within: float
    """Captions that repeat one of the same image, as a part of all captions."""
    across: float
    """Captions that are new to their image but not to the corpus, as a part of all captions."""
    identical_images: float
    """Part of the images with at least two captions whose captions are all equal."""


def norm_caption(text: str) -> str:
    r"""Lower case, compatibility forms folded, one space for each run of other signs than words.

    Example:
        >>> norm_caption("  Open water,\tin the North-West .")
        'open water in the north west'
    """
    if text.isascii():  # the same by a table, several times faster
        return " ".join(text.lower().translate(_ASCII_SIGNS).split())
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def _key(text: str) -> bytes:
    # A digest in place of the text holds two million captions in little memory; at 128 bits a
    # chance collision is out of the question.
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=_KEY_BYTES).digest()


def exact_redundancy(captions: Iterable[str]) -> Redundancy:
    """Redundancy by exact string over a corpus, read once.

    Example:
        >>> exact_redundancy(["a lake", "a lake", "a field", "A lake"]).redundancy
        0.25
    """
    count = 0
    seen: set[bytes] = set()
    for text in captions:
        count += 1
        seen.add(_key(text))
    return Redundancy(count, len(seen))


def normalised_redundancy(captions: Iterable[str]) -> Redundancy:
    """Redundancy after `norm_caption`; never below the exact one."""
    return exact_redundancy(norm_caption(text) for text in captions)


def split_redundancy(captions: Iterable[tuple[str, str]]) -> SplitRedundancy:
    """Redundancy of (image id, caption) pairs, in any order, read once.

    An image that stands in the corpus twice under one id counts as one image.
    """
    count = 0
    corpus: set[bytes] = set()
    normalised: set[bytes] = set()
    by_image: dict[str, dict[bytes, int]] = {}
    for sample_id, text in captions:
        count += 1
        key = _key(text)
        corpus.add(key)
        normalised.add(_key(norm_caption(text)))
        own = by_image.setdefault(sample_id, {})
        own[key] = own.get(key, 0) + 1
    new_to_image = sum(len(own) for own in by_image.values())
    several = [own for own in by_image.values() if sum(own.values()) > 1]
    return SplitRedundancy(
        exact=Redundancy(count, len(corpus)),
        normalised=Redundancy(count, len(normalised)),
        images=len(by_image),
        within=(count - new_to_image) / count if count else 0.0,
        across=(new_to_image - len(corpus)) / count if count else 0.0,
        identical_images=sum(len(own) == 1 for own in several) / len(several) if several else 0.0,
    )


def rarefied_redundancy(captions: Iterable[str], count: int, *, seed: int, draws: int = 8) -> float:
    """Mean exact redundancy of `draws` random subsets of `count` captions each.

    Compare corpora of different sizes at one `count`. Captions are drawn without replacement;
    the result depends on the corpus's order and `seed` alone.

    Raises:
        ValueError: `count` is below 1 or above the number of captions, or `draws` below 1.
    """
    keys = [_key(text) for text in captions]
    if not 1 <= count <= len(keys):
        raise ValueError(
            f"cannot draw {count} of {len(keys)} captions; rarefy at a count that the smallest "
            "corpus of the comparison reaches"
        )
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    rng = random.Random(seed)
    unique = sum(len(set(rng.sample(keys, count))) for _ in range(draws))
    return 1 - unique / (count * draws)
