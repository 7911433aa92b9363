"""Class tables: which codes and colours of a source mean which land-cover label.

Three numberings meet here and are never mixed: a *code* is what a source's mask holds
(WorldCover 10 … 100), a *label* is the contiguous id 0 … N−1 that models learn, and a *colour*
is how a label is drawn (or how a mask file stores it). 255 is the label of unknown pixels.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from terraloom.errors import SettingsError, UnknownCode

UNKNOWN: Final = 255
"""Label of a pixel whose class is not known; never learned, never counted."""
_STRANGE: Final = 254
"""Stands for a code that no class has while codes are looked up."""

UNKNOWN_COLOUR: Final = (0, 0, 0)

MaskStyle = Literal["codes", "colours"]
Channel = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]


class LandClass(BaseModel):
    """One land-cover class: how it is named, drawn, and which source codes mean it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    """Short lower-case name, also the noun that captions start from."""
    colour: Colour
    """Red, green, blue, 0 … 255: palette of stored masks, figures, and RGB masks read in."""
    codes: tuple[int, ...] = ()
    """Values in the source's masks that mean this class; several are merged."""
    synonyms: tuple[str, ...] = ()
    """Noun phrases that may stand for the class in a caption."""


class ClassTable(BaseModel):
    """The classes of a data set in label order, and the codes that are ignored.

    Example:
        >>> table = preset("worldcover7")
        >>> table.labels_of_codes(np.array([[10, 95, 0]], dtype=np.uint8)).tolist()
        [[0, 0, 255]]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[LandClass, ...] = Field(min_length=2, max_length=255)
    ignore_codes: tuple[int, ...] = ()
    """Source codes that become 255 (unknown); a code in no list is an error, not unknown."""

    @model_validator(mode="after")
    def _unambiguous(self) -> "ClassTable":
        names = [c.name for c in self.classes]
        if len(set(names)) < len(names):
            raise ValueError(f"class names must differ, got {names}")
        colours = [c.colour for c in self.classes]
        if len(set(colours)) < len(colours):
            raise ValueError("class colours must differ, or masks stored as colours are ambiguous")
        codes = [code for c in self.classes for code in c.codes] + list(self.ignore_codes)
        repeated = sorted({code for code in codes if codes.count(code) > 1})
        if repeated:
            raise ValueError(f"codes {repeated} are given to more than one class or ignore list")
        return self

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(c.name for c in self.classes)

    @property
    def colours(self) -> tuple[Colour, ...]:
        """Class colours in label order."""
        return tuple(c.colour for c in self.classes)

    @cached_property
    def palette(self) -> NDArray[np.uint8]:
        """Colours by label, uint8 "256 3"; unused labels and 255 are black."""
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(self)] = self.colours
        table[UNKNOWN] = UNKNOWN_COLOUR
        return table

    def labels_of_codes(
        self, codes: NDArray[np.integer], *, source: str = "mask"
    ) -> NDArray[np.uint8]:
        """Source codes, "height width", to labels 0 … N−1 and 255.

        Args:
            codes: any integer type; may be negative (some maps mark no data as −1).
            source: file or tile named in the error.

        Raises:
            UnknownCode: a code is in no class and not ignored; names file, code and count.
        """
        known = {code: label for label, c in enumerate(self.classes) for code in c.codes}
        known |= dict.fromkeys(self.ignore_codes, UNKNOWN)
        if codes.dtype == np.uint8 and len(self) <= _STRANGE:
            lookup = np.full(256, _STRANGE, dtype=np.uint8)
            for code, label in known.items():
                if 0 <= code < 256:
                    lookup[code] = label
            found: NDArray[np.uint8] = lookup[codes]
            if not (found == _STRANGE).any():
                return found
        flat, inverse = np.unique(codes, return_inverse=True)
        strange = [int(code) for code in flat if int(code) not in known]
        if strange:
            count = int(np.isin(codes, strange).sum())
            raise UnknownCode(
                f"{source}: code{'s' if len(strange) > 1 else ''} "
                f"{', '.join(map(str, strange[:8]))} ({count} pixels) "
                f"in no class; the class table knows {sorted(known)}. "
                "Add the code to a class or to ignore_codes."
            )
        labels = np.array([known[int(code)] for code in flat], dtype=np.uint8)
        return labels[inverse].reshape(codes.shape)

    def labels_of_colours(
        self,
        pixels: NDArray[np.uint8],
        *,
        ignore: Sequence[Colour] = (UNKNOWN_COLOUR,),
        source: str = "mask",
    ) -> NDArray[np.uint8]:
        """RGB colours, uint8 "height width 3", to labels 0 … N−1 and 255.

        Args:
            pixels: red, green, blue; each must be a class colour or one of `ignore`, exactly.
            ignore: colours that mean unknown; a class colour wins over an equal entry.
            source: file named in the error.

        Raises:
            UnknownCode: a colour is neither a class nor ignored.
        """
        packed = pack_colours(pixels)
        known = {int(pack_colours(np.array(c, dtype=np.uint8))): UNKNOWN for c in ignore}
        known |= {
            int(pack_colours(np.array(c, dtype=np.uint8))): label
            for label, c in enumerate(self.colours)
        }
        flat, inverse = np.unique(packed, return_inverse=True)
        strange = [int(value) for value in flat if int(value) not in known]
        if strange:
            shown = ", ".join(f"({v >> 16}, {v >> 8 & 255}, {v & 255})" for v in strange[:5])
            raise UnknownCode(
                f"{source}: colour {shown} in no class ({len(strange)} such colours); "
                f"the class table knows {[tuple(c) for c in self.colours]}. "
                "Correct the colours, or save masks without anti-aliasing or JPEG."
            )
        lookup = np.array([known[int(value)] for value in flat], dtype=np.uint8)
        return lookup[inverse].reshape(packed.shape)

    def colour_image(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels "height width" drawn in the class colours, uint8 "height width 3"."""
        return self.palette[labels]

    def shares(self, labels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Share of each class among the known pixels, float32 "class", sum 1.

        All zeros where no pixel is known.
        """
        # Comparing bytes class by class is several times faster than counting all values at once.
        counts = np.array([np.count_nonzero(labels == i) for i in range(len(self))], np.float64)
        total = counts.sum()
        return (counts / total if total else counts).astype(np.float32)


def pack_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Red, green, blue in the last axis to one number per pixel, 0xRRGGBB."""
    wide = pixels.astype(np.uint32)
    packed: NDArray[np.uint32] = wide[..., 0] * 65536 + wide[..., 1] * 256 + wide[..., 2]
    return packed


_TREE = ("trees", "woodland", "forest", "tree cover")
_GRASS = ("grassland", "grass", "pasture", "meadow")
_CROP = ("cropland", "crops", "farmland", "cultivated fields")
_BUILT = ("built-up land", "buildings", "settlement", "urban fabric")
_BARE = ("bare ground", "barren land", "bare soil", "sparsely vegetated ground")
_SHRUB = ("shrubland", "shrubs", "scrub", "bushes")
_WATER = ("water", "open water", "a water body")


def _land(
    name: str, colour: Colour, codes: tuple[int, ...], synonyms: tuple[str, ...]
) -> LandClass:
    return LandClass(name=name, colour=colour, codes=codes, synonyms=synonyms)


# The paper's seven classes, in its label order and colours; herbaceous wetland follows its
# published script (grass), not its figure (tree).
_WORLDCOVER7 = ClassTable(
    classes=(
        _land("tree", (0, 100, 0), (10, 95), _TREE),
        _land("shrub", (255, 182, 193), (20,), _SHRUB),
        _land("grass", (154, 205, 50), (30, 90, 100), _GRASS),
        _land("crop", (255, 215, 0), (40,), _CROP),
        _land("built-up", (139, 69, 19), (50,), _BUILT),
        _land("barren", (211, 211, 211), (60, 70), _BARE),
        _land("water", (0, 0, 255), (80,), _WATER),
    ),
    ignore_codes=(0,),
)

# All eleven classes of ESA WorldCover in the map's own colours.
_WORLDCOVER11 = ClassTable(
    classes=(
        _land("tree", (0, 100, 0), (10,), _TREE),
        _land("shrub", (255, 187, 34), (20,), _SHRUB),
        _land("grass", (255, 255, 76), (30,), _GRASS),
        _land("crop", (240, 150, 255), (40,), _CROP),
        _land("built-up", (250, 0, 0), (50,), _BUILT),
        _land("barren", (180, 180, 180), (60,), _BARE),
        _land("snow", (240, 240, 240), (70,), ("snow and ice", "snow", "ice")),
        _land("water", (0, 100, 200), (80,), _WATER),
        _land("wetland", (0, 150, 160), (90,), ("herbaceous wetland", "wetland", "marsh", "reeds")),
        _land("mangrove", (0, 207, 117), (95,), ("mangroves", "mangrove forest")),
        _land("moss", (250, 230, 160), (100,), ("moss and lichen", "moss", "lichen")),
    ),
    ignore_codes=(0,),
)

PRESETS: Final = {"worldcover7": _WORLDCOVER7, "worldcover11": _WORLDCOVER11}


def preset(name: str) -> ClassTable:
    """The class table of that name.

    Raises:
        SettingsError: no preset has that name; lists those there are.
    """
    if name not in PRESETS:
        raise SettingsError(
            f"class preset {name!r} is unknown; there are {', '.join(PRESETS)}. "
            "For classes of your own, write [[classes.table]] entries instead."
        )
    return PRESETS[name]
