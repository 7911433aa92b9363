"""Floors and a ceiling of captioners: what a writer scores who never looks at the image.

    random train caption    of a random train image, another one for each test image and run
    constant caption        one train caption for every test image: the most frequent one
    one reference           one caption that counts as right, against the others (ceiling)

A captioner that does not beat the first has learned at most how captions are worded.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from terraloom.caption_metrics import tokenise
from terraloom.errors import RoleError
from terraloom.image_to_text.captioned import CaptionedTrain
from terraloom.seeds import generator_at

RANDOM: Final = "random train caption"
CONSTANT: Final = "constant caption"
CEILING: Final = "one reference"
_COMPARED: Final = 300
"""Captions that ties are decided among and by, at most: their pairs are compared."""


def random_captions(train: CaptionedTrain, ids: Sequence[str], seed: int) -> list[str]:
    """A caption of a random train image for each id; the same for an id whatever the others."""
    found = []
    for key in ids:
        random = generator_at(seed, "random caption", key)
        own = train.texts[int(random.integers(len(train)))]
        found.append(own[int(random.integers(len(own)))])
    return found


def constant_caption(train: CaptionedTrain, seed: int) -> str:
    """The most frequent train caption.

    Of several equally frequent ones (varied writers repeat nothing), the one that has most words in
    common with the others: mean Dice coefficient of their sets of words, over at most 300 drawn.

    Raises:
        RoleError: captions of another role.
    """
    if not isinstance(train, CaptionedTrain):
        raise RoleError("the constant caption is chosen among captions of train rows only.")
    counts = Counter(text for texts in train.texts for text in texts)
    most = max(counts.values())
    tied = sorted(text for text, count in counts.items() if count == most)
    if len(tied) == 1:
        return tied[0]
    random = generator_at(seed, "constant caption")
    drawn = np.sort(random.permutation(len(tied))[:_COMPARED])
    texts = [tied[int(index)] for index in drawn]
    others = sorted(counts)
    others = [others[int(i)] for i in np.sort(random.permutation(len(others))[:_COMPARED])]
    words = [frozenset(tokenise(text)) for text in texts]
    against = [frozenset(tokenise(text)) for text in others]
    common = [
        sum(2 * len(own & other) / max(len(own) + len(other), 1) for other in against)
        for own in words
    ]
    return texts[int(np.argmax(common))]


def one_against_the_others(
    references: Mapping[str, Sequence[str]],
) -> tuple[dict[str, str], dict[str, list[str]]] | None:
    """The last reference of each image as its caption, and the others as references.

    Returns:
        None where an image has a single one.
    """
    if any(len(texts) < 2 for texts in references.values()):
        return None
    said = {key: texts[-1] for key, texts in references.items()}
    return said, {key: list(texts[:-1]) for key, texts in references.items()}
