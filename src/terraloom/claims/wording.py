"""The words that captions are built with, but for the classes: each stands for one symbol.

A sentence becomes a string of symbols, in which constructions are found by short expressions
(`terraloom.claims.reading`). This is the list of symbols:

```
N class noun      O other noun       s scene, image     q amount          m minimal
k small           x "patches of"     c covers           C covered by      D dominated by
E dominates       M mainly           T entirely         X nothing but     G the largest class
- no, without     B is absent        ? may, suggests    ~ possibly        a near, around
b borders         p in the north     h northern half    f of              i other preposition
w with            v other verb       t it, them         W which           g more, larger
H than            > outnumbers       = equally          F followed by     2 comes second
R the rest        e each, together   Y no class ... than   Z than any other
& and             | or               , ; ( )            U as much         A mostly borders
```
"""

import re
from functools import cache
from typing import Final

from terraloom.claims.amounts import amount_phrases

_MEASURED: Final = (
    "area|patch|pocket|plot|parcel|tract|zone|strip|stretch|section|expanse|swath|swathe|belt|band|"
    "remnant|space"
)
"""Measures whose smallness is that of what they measure: "small patches of grass"."""
_COUNTED: Final = (
    "block|piece|row|cluster|group|lot|number|network|mix|mixture|mosaic|patchwork|variety|spread|"
    "coverage|cover|field|line|range|combination|collection|series|set|kind|sheet|body|fringe|"
    "scatter|concentration|sea|ocean|forest"
)

_PLAIN: Final = {
    "c": "covers|cover|covering|occupies|occupy|occupying|takes up|take up|taking up|makes up|"
    "make up|making up|accounts for|account for|accounting for|extends over|extend over|"
    "spreads over|spread over|stretches across|stretch across|reaches across|reach across|fills|"
    "fill|filling|constitutes|constitute|constituting|represents|represent|representing|blankets|"
    "blanket|blanketing|carpets|carpet|spans|span|spanning|claims|claim|are present at|"
    "is present at|extends across|extend across|spreads across|spread across|holds|hold",
    "C": "covered by|covered with|covered in|occupied by|taken up by|made up of|filled with|"
    "filled by|blanketed by|blanketed in|composed of|consists of|consist of|consisting of|"
    "comprised of|comprises|comprise|comprising|used for|used as|planted with|devoted to|"
    "carpeted with|given over to|clad in|formed by|formed of|is home to|occupied with|under",
    "D": "dominated by|dominated largely by",
    "E": "dominates|dominate|dominating|prevails|prevail|prevailing|predominates|predominate|"
    "is dominant|are dominant|domination",
    "B": "absent|missing|nowhere",
    "-": "rather than|instead of|as opposed to|"
    "no|not|without|neither|nor|never|lacks|lack|lacking|devoid of|absence of|lack of|free of|"
    "free from|none of|not a single|no sign of|no signs of|no trace of|no traces of|cannot|nothing|"
    "no single|no visible|doesn't|don't|isn't|aren't|hasn't|can't|no longer|bereft of|empty of",
    "?": "may|might|could|appears to be|appear to be|seems to be|seem to be|seems|suggests|suggest|"
    "suggesting|looks like|look like|looks to be|difficult to tell|hard to tell|unclear|whether|"
    "hinting at|hints at|would",
    "~": "possibly|perhaps|likely|probably|potentially|presumably|maybe|apparently|possible|"
    "what looks like|what seems to be|what appears to be|supposedly|conceivably",
    "a": "on its banks|on both banks|on its shores|on its shore|along its banks|along its shores|"
    "along both banks|interspersed around|near|next to|beside|close to|adjacent to|along|"
    "around|surrounding|"
    "surrounded by|"
    "encircled by|enclosed by|flanked by|bordered by|bordering|lined by|lined with|fringed by|"
    "fringed with|separated by|separated from|in front of|between|on both sides of|"
    "on both side of|in both sides of|on the both sides of|on two sides of|in two sides of|"
    "at two sides of|on either side of|in one side of|on one side of|on the side of|"
    "on the banks of|on the bank of|on the bankes of|along the banks of|at the banks of|"
    "along the bank of|at the edge of|on the edge of|on the edges of|along the edge of|"
    "along the edges of|adjoining|abutting|facing|hemmed in by|ringed by|framed by|bounded by|"
    "passed by|passes by|passing by|nearby|on one side|on the other|on the other side|"
    "on both sides|on its side|on the side|beside of|on the shore of|"
    "on the shores of|hugging|surround by|surrounded with|bordered with|next door to|"
    "neighbouring|neighboring|in the vicinity of|abuts on",
    "A": "mainly borders|mainly border|mostly next to|bordered mainly by|mostly borders|"
    "mostly border|shares most of its border with|share most of their border with|"
    "mainly next to|bordered mostly by|mostly adjacent to|mainly adjacent to|borders mainly|"
    "border mainly|borders mostly|border mostly",
    "b": "line both sides of|lines both sides of|flank both sides of|line the banks of|"
    "borders|border|flanks|flank|fringes|fringe|surrounds|surround|encircles|encircle|"
    "separates|separate|adjoins|adjoin|abuts|abut|lines|line|touches|touch|neighbours|neighbors|"
    "hugs|hug|rings|ring|hems in|edges|skirts|skirt",
    "f": "of",
    "i": "in|on|at|to|from|by|through|across|within|inside|into|over|above|below|onto|upon|amid|"
    "among|amongst|toward|towards|against|for|as|interspersed with|interspersed among|"
    "interspersed by|interspersed|mixed with|such as|apart from|except for|"
    "save for|aside from|together with|along with|alongside|beneath|beyond|except|besides|"
    "other than|alternating with|intermixed with|intermingled with|dotted with|"
    "cut by|crossed by|intersected by|traversed by|out of|next|after|before|like|underneath|via",
    "w": "with|featuring|including|having|accompanied by",
    "v": "consists|consist|"
    "is|are|was|were|be|been|being|has|have|had|shows|show|showing|contains|contain|"
    "containing|includes|include|lies|lie|lying|stands|stand|standing|sits|sit|located|situated|"
    "found|visible|seen|present|appears|appear|appearing|occurs|occur|occurring|runs|run|running|"
    "flows|flow|flowing|winds|goes|go|going|passes|pass|passing|extends|extend|can|do|does|did|"
    "will|remains|remain|there|exists|exist|depicts|depict|built|parked|planted|arranged|scattered|"
    "concentrated|placed|nestled|set|features|feature|displays|display|combines|combine|presents|"
    "cuts|cut|meanders|traverses|traverse|leads|lead|crosses|cross|connects|leaves|rises|rise|"
    "forms|form|forming|reveals|indicates|indicating|indicate|gives way|give way|captures|"
    "stretches|stretch|reaches|reach|clustered|distributed|confined|it's|there's|spread|looks|"
    "look|making|makes|make|becomes|become|dot|dots",
    "t": "it|them|this area",
    "W": "which|that|who",
    "g": "",
    "H": "than",
    ">": "outnumber|outnumbers|exceed|exceeds|outweigh|outweighs|surpass|surpasses|"
    "twice as much area as|twice as much as|twice the area of|twice as large as|"
    "ahead of|"
    "has a narrow lead over|have a narrow lead over|has a slight lead over|"
    "have a slight lead over|leads over|has a clear lead over|have a clear lead over",
    "=": "equally extensive|about equally extensive|similar parts|similar shares|"
    "in nearly equal parts|equal parts|equal shares|roughly equal areas|"
    "equal areas|similar areas|comparable areas|"
    "roughly equal shares|similar amounts|similar extents|similar extent|in equal parts|"
    "in roughly equal parts|equally large|nearly equal parts|about equally|in similar parts",
    "F": "followed by|then by",
    "2": "comes second|come second|is second|are second|second in extent|is second in extent|"
    "are second in extent|comes next|come next|next in extent|ranks second|rank second",
    "R": "the rest|the remainder|what remains|the remaining area|the remaining part|"
    "the remaining land|the remaining parts",
    "e": "each|together|combined|in total|jointly|apiece|both together",
    "&": "and|&|plus|as well as|and also|and then|then",
    "|": "or|and/or",
    ";": "while|whereas|but|although|though|however|yet|where|when|because|since|unlike|instead|"
    "so|whilst",
    "U": "as much|as many",
    "s": "scene|landscape|image|picture|view|tile|frame|region|area|terrain|land|map|photo|"
    "photograph|countryside|scenery|mapped area|labelled area|labelled part|surface|"
    "land area|land use|whole|total|ground",
    "d": "a|an|the|some|many|several|numerous|few|various|this|these|those|its|their|both|any|one|"
    "two|three|four|five|six|seven|eight|nine|ten|all|his|her|our|another|every|a few|"
    "lots of|plenty of|a lot of|a number of|a large number of|dozens of|hundreds of",
    "y": "only|just",
    "": "here|also|very|quite|clearly|plainly|still|rather|somewhat|even|well|as well|"
    "too|already|overall|otherwise|more or less|almost|nearly|again|so many|ever|merely|"
    "slightly|relatively|generally|now|once|not only|not just|not merely|no doubt|we|such|"
    "can see|own|same|so called|most likely|else|indeed|largely unbroken|no other",
}

_VALUED: Final = {
    "M": {
        "mostly": "mostly|mainly|largely|chiefly|for the most part|in the main|overwhelmingly",
        "": "predominantly|predominately|primarily|dominantly",
    },
    "T": {
        "all": "is all|entirely|completely|wholly|fully|totally|exclusively|uniformly|solely",
        "nearly all": "almost entirely|nearly entirely|almost completely|almost exclusively|"
        "almost fully|almost wholly|virtually entirely|almost uniformly|almost totally|"
        "practically entirely|nearly completely",
    },
    "X": {
        "all": "nothing but|nothing other than|nothing except",
        "nearly all": "almost nothing but|nearly nothing but|little but|little else than|"
        "little other than|hardly anything but",
    },
    "m": {
        "small part": "minimal|negligible|scant|scarce|little|very little|trace of|traces of|"
        "a trace of|a touch of|small amounts of|only traces of|insignificant",
        "tiny part": "hardly any|barely any|scarcely any|almost no|next to no|virtually no",
    },
    "k": {
        "small part": "small|smaller|minor|tiny|very small|relatively small|little area of",
    },
    "g": {
        "more": "more|larger|bigger|greater|wider|more extensive|more widespread|more abundant|"
        "slightly more|slightly larger|slightly more extensive|far more|much more|much larger|"
        "far larger|only slightly more extensive|more common|more dominant",
        "less": "less|fewer|less extensive|less widespread|less abundant|slightly less|"
        "slightly smaller|far less|much less|much smaller|even less|less common",
    },
}  # fmt: skip

_LARGEST: Final = "most extensive|largest|biggest|most common|most widespread|most abundant|leading"
_DOMINANT: Final = "dominant|prevailing|predominant|main"
_RANKED: Final = "class|cover|land cover|land use|cover type|type|land cover class|land cover type"
_LARGEST_PART: Final = "share|part|portion|proportion"

_EVERY_VERB: Final = ("is", "are", "was", "were", "seems", "seem")
_ABSENT: Final = (
    "absent", "missing", "lacking", "nowhere to be seen", "nowhere", "not present", "not visible",
    "not seen", "not found", "not there", "not to be seen", "both absent", "entirely absent",
    "completely absent", "all absent",
)  # fmt: skip


@cache
def grammar() -> dict[str, tuple[str, str | None]]:
    """(symbol, value) of each phrase; the symbol "" marks words that are passed over."""
    found: dict[str, tuple[str, str | None]] = {}
    for symbol, phrases in _PLAIN.items():
        for phrase in filter(None, phrases.split("|")) if symbol != "|" else ("or", "and/or"):
            found[phrase] = symbol or " ", None
    for symbol, by_value in _VALUED.items():
        for value, phrases in by_value.items():
            for phrase in phrases.split("|"):
                found[phrase] = symbol, value or None
    ranks: tuple[tuple[str, str | None], ...] = ((_LARGEST, "largest"), (_DOMINANT, None))
    for adjectives, rank in ranks:
        for adjective in adjectives.split("|"):
            for noun in _RANKED.split("|"):
                found[f"{adjective} {noun}"] = "G", rank
    for adjective in ("largest", "biggest", "greatest"):
        for noun in _LARGEST_PART.split("|"):
            found[f"{adjective} {noun}"] = "G", "largest"
    for measured, nouns in ((True, _MEASURED), (False, _COUNTED)):
        for noun in nouns.split("|"):
            plural = noun + ("es" if noun.endswith(("ch", "sh", "x")) else "s")
            for form in (noun, plural):
                found[f"{form} of"] = "x", "measured" if measured else None
    for phrase, value in amount_phrases().items():
        found[phrase] = "q", value
    for verb in _EVERY_VERB:
        for word in _ABSENT:
            found[f"{verb} {word}"] = "B", None
    return found


MEASURED_NOUNS: Final = frozenset(
    form
    for noun in (*_MEASURED.split("|"), "component", "feature", "coverage", "cover", "use",
                 "contribution")
    for form in (noun, noun + ("es" if noun.endswith(("ch", "sh", "x")) else "s"))
)  # fmt: skip
"""Nouns after which "small" speaks of extent: "small barren patches", "minor components"."""

AREA_NOUNS: Final = frozenset(
    ("area", "areas", "region", "regions", "land", "lands", "terrain", "zone", "zones", "surface",
     "surfaces", "landscape", "scene", "scenery", "countryside", "ground", "patch", "patches",
     "image", "hillside", "hillsides", "environment", "tile", "view")
)  # fmt: skip
"""Nouns that a class's adjective stands before: "barren hillsides", "residential area"."""

NO_CLASS_MORE: Final = re.compile(
    r"\bno (?:other |single )*(?:class|cover|land cover|type|category|other)\b[^.;,]{0,60}?\bthan\b"
)
"""No class takes up more of it than …: what follows is the largest."""
THAN_ANY_OTHER: Final = re.compile(
    r"\b(?:more|larger|more extensive)\b(?: of [^.;,]{0,30}?)? than (?:any|every) other"
    r"(?: (?:class|cover|type))?"
)
"""… covers more of it than any other class."""

SHAPES: Final = {
    word: value
    for value, words in {
        "winding": "winding|curved|curving|meandering|crooked|snaking|sinuous|serpentine|twisting|"
        "curvy",
        "straight": "straight",
        "strip": "narrow|linear|elongated|slender|strip|strips|ribbon|ribbons",
        "scattered": "scattered|dispersed|fragmented|isolated|sporadic|separate",
        "patches": "patchy|patches|pockets|fragments",
        "one piece": "continuous|contiguous|unbroken|uninterrupted",
    }.items()
    for word in words.split("|")
}
"""Words that tell a shape, before a class noun or behind it."""

MEASURED_SHAPES: Final = {
    **dict.fromkeys(("patches", "pockets", "fragments", "remnants"), "patches"),
    **dict.fromkeys(("strip", "strips", "belt", "belts", "band", "bands"), "strip"),
    **dict.fromkeys(("patch", "block", "area", "piece", "expanse", "stretch", "tract"), ""),
}
"""Shapes that measures tell: "patches of grass"; of an empty one a word before it must tell."""

SINGLE: Final = frozenset(("single", "connected"))
"""Words that make one piece of a patch, block or area, but not of a building."""
