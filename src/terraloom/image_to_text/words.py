"""Words and signs as numbers: a vocabulary of the training captions, kept as JSON."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from terraloom.errors import BadCheckpoint, NewerFormat, NothingLeft, RoleError
from terraloom.files import read_json, write_json
from terraloom.image_to_text.captioned import CaptionedTrain

PAD: Final = 0
START: Final = 1
END: Final = 2
UNKNOWN_WORD: Final = 3
_FIRST: Final = 4
_VERSION: Final = 1
_MAX_CHARACTERS: Final = 20_000
_LONGEST_WORD: Final = 40
_PIECE: Final = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*|[^\w\s]|_")
_HIDDEN: Final = ("Cc", "Cf", "Cs", "Co")
_NO_SPACE_BEFORE: Final = frozenset(",.;:!?)]}%")
_NO_SPACE_AFTER: Final = frozenset("([{")
_ENDS_SENTENCE: Final = frozenset(".!?")


class WordTokenizer:
    """Numbers for lower-case words and signs; 0 … 3 are padding, start, end, and unknown words.

    The four are numbers without text: a caption that spells "<end>" is four words like any others.

    Args:
        words: in the order of their numbers, from 4 on; all different.
    """

    pad, start, end = PAD, START, END

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words, start=_FIRST)}
        if len(self._numbers) != len(self.words):
            raise ValueError("a vocabulary holds each word once")

    @classmethod
    def fit(cls, train: CaptionedTrain, most: int) -> "WordTokenizer":
        """The `most` commonest words of the train captions; of equally common ones by alphabet.

        Raises:
            RoleError: captions of another role.
            NothingLeft: they hold no word.
        """
        if not isinstance(train, CaptionedTrain):
            raise RoleError("a vocabulary is fitted on captions of train rows only.")
        counts = Counter(
            word
            for texts in train.texts
            for text in texts
            for word in split_words(text)
            if len(word) <= _LONGEST_WORD
        )
        if not counts:
            raise NothingLeft("the training captions hold no word to learn.")
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ordered[:most])

    def __len__(self) -> int:
        return _FIRST + len(self.words)

    @property
    def never_written(self) -> tuple[int, ...]:
        """Numbers that stand for no text."""
        return (PAD, START, UNKNOWN_WORD)

    def encode(self, text: str, most: int) -> list[int]:
        """Numbers of at most `most` words, then the end."""
        numbers = [self._numbers.get(word, UNKNOWN_WORD) for word in split_words(text)[:most]]
        return [*numbers, END]

    def decode(self, numbers: Sequence[int]) -> str:
        """Text up to the first end: sentences begin with a capital, signs hug their words."""
        parts: list[str] = []
        begins, hugs = True, True
        for number in numbers:
            if number == END:
                break
            if not _FIRST <= number < len(self):
                continue
            word = self.words[number - _FIRST]
            if not hugs and word not in _NO_SPACE_BEFORE:
                parts.append(" ")
            parts.append(word[:1].upper() + word[1:] if begins else word)
            begins = word in _ENDS_SENTENCE or (begins and not word[:1].isalnum())
            hugs = word in _NO_SPACE_AFTER
        return "".join(parts)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, {"version": _VERSION, "words": list(self.words)})

    @classmethod
    def load(cls, path: Path) -> "WordTokenizer":
        """Read what `save` wrote.

        Raises:
            BadCheckpoint: the file is missing or holds something else.
            NewerFormat: a newer version wrote it.
        """
        try:
            stored = read_json(path)
            if stored["version"] > _VERSION:
                raise NewerFormat(f"{path} was written by a newer version. Upgrade terraloom.")
            words = stored["words"]
            if not all(isinstance(word, str) for word in words):
                raise ValueError("a word that is no text")
            return cls(words)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadCheckpoint(
                f"{path} holds no vocabulary ({type(error).__name__}). Delete the folder of this "
                "training and run the stage again."
            ) from error


def split_words(text: str) -> list[str]:
    """Lower-case words and single signs of a caption; hidden characters split nothing and go.

    Example:
        >>> split_words("Built-up land, in the north-west.")
        ['built-up', 'land', ',', 'in', 'the', 'north-west', '.']
    """
    composed = unicodedata.normalize("NFC", text[:_MAX_CHARACTERS])
    seen = "".join(
        " " if c.isspace() else c
        for c in composed
        if c.isspace() or unicodedata.category(c) not in _HIDDEN
    )
    return _PIECE.findall(seen.lower())
