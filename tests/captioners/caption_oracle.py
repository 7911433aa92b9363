"""An oracle on captions of the template, sharing no code and no threshold with the writer.

It reads captions by expressions of its own and measures masks by loops of its own. Its bands state
what a careful reader accepts; they are wider than what the writer allows itself, since a claim that
only a ruler could refute is no false claim:

| statement | holds from |
|---|---|
| a class is there | 0.4 % |
| a class is absent | no pixel |
| an amount word | its band in `AMOUNT_BANDS` |
| dominates | the largest, 40 %; "clearly" with 20 points more than the next |
| mostly | more than 50 %; nearly all 90 %; all 99.9 % |
| in a half · corner, centre · along an edge | 72 · 65 · 75 % of the class, each region 2 % wider |
| throughout | 12 % of it in each quarter |
| a half is mainly | 55 % of its known pixels; almost entirely 90 % |
| neighbour | 55 % of the border |
| narrow strip | reaches across 70 % of the image on its course, at most a quarter of it |
| winding · straight | its middle leaves the chord by 4 % of it · never by more than 8 % |
| scattered | 6 patches, none of which holds more than half |
| one patch, block | 90 % in one patch |
| compact · elongated | it fills at least 35 % · at most half of the circle around it |
| a mix | each class 5 %, together 60 % |
| finely mixed · apart | at least 11 · at most 9 changes of class along a line across the image |
"""

import contextlib
import re
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

SEVEN_WORDS = {
    0: ("tree cover", "trees", "woodland", "forest"),
    1: ("shrubland", "shrubs", "scrub", "bushes"),
    2: ("grassland", "grass", "pasture", "meadows", "meadow"),
    3: ("cropland", "crops", "farmland", "cultivated fields"),
    4: ("built-up land", "buildings", "settlements", "urban fabric"),
    5: ("bare ground", "barren land", "bare soil", "sparsely vegetated ground"),
    6: ("open water", "water"),
}
AMOUNT_BANDS = {
    r"all": (0.999, 1.0),
    r"virtually all|practically all": (0.985, 1.0),
    r"almost all|nearly all|all but a fraction": (0.9, 1.0),
    r"the vast majority|by far the largest part": (0.75, 1.0),
    r"most|the bulk|the greater part": (0.53, 1.0),
    r"(?:about|roughly|around) three quarters": (0.68, 0.82),
    r"(?:about|roughly|around) two thirds": (0.60, 0.73),
    r"more than half|over half": (0.505, 0.8),
    r"(?:about|roughly|around|close to) half": (0.43, 0.57),
    r"nearly half|just under half": (0.40, 0.5),
    r"a large part|much|a large share": (0.3, 0.75),
    r"(?:about|roughly|around) a third": (0.27, 0.4),
    r"a good part|a sizeable part": (0.18, 0.55),
    r"(?:about|roughly|around) a quarter": (0.2, 0.3),
    r"(?:about|roughly|around) a fifth": (0.15, 0.25),
    r"a modest part|a smaller part": (0.05, 0.3),
    r"(?:about|roughly|around) a tenth": (0.07, 0.135),
    r"a small part|a small share|a minor part": (0.01, 0.16),
    r"a tiny part|a very small part": (0.003, 0.05),
}
AMOUNT = "|".join(AMOUNT_BANDS)
AREA = (
    r"(?:the (?:(?:whole|entire|mapped|labelled) )?(?:scene|area|landscape|image|view|region|tile|"
    r"picture|frame|part)|it)"
)
ADVERB = r"(?:mainly|mostly|chiefly|largely)"
SIDES = {
    "north": "n", "south": "s", "west": "w", "east": "e", "northern": "n", "southern": "s",
    "western": "w", "eastern": "e", "top": "n", "bottom": "s", "left": "w", "right": "e",
    "centre": "c",
}  # fmt: skip
WORD = "|".join(SIDES)
PLACE = (
    rf"in the ((?:{WORD})(?:[- ](?:{WORD}))?)(?![-\w]| half)|at the (top|bottom)"
    rf"|on the (left|right)|along the ({WORD}) edge|(throughout)"
)
COVER = (
    r"(?:covers?|occup(?:y|ies)|takes? up|fills?|makes? up|accounts? for|extends? over|"
    r"spreads? over|stretch(?:es)? across|reach(?:es)? across)"
)
LIST = r"<\d>(?:, <\d>)*(?:,? (?:or|and) <\d>)?"
PIECE = (
    r"(?:an?|one) (?:(?:single|compact|elongated|long|continuous|connected|irregular),? )+"
    r"(?:patch|block|area)"
)


@dataclass
class Reading:
    """Claims read from one caption: (kind, holds)."""

    claims: list[tuple[str, bool]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def add(self, kind: str, holds: bool) -> None:
        self.claims.append((kind, bool(holds)))

    @property
    def false(self) -> list[str]:
        return [kind for kind, holds in self.claims if not holds]


class Oracle:
    """Reads captions of one mask and says which claims fail."""

    def __init__(self, labels: np.ndarray, words: dict[int, tuple[str, ...]]) -> None:
        self.labels = labels
        self.n = len(words)
        self.tokens = sorted(
            ((w, label) for label, own in words.items() for w in own), key=lambda t: -len(t[0])
        )
        known = labels != 255
        self.known = known.mean()
        total = max(known.sum(), 1)
        self.share = {c: (labels == c).sum() / total for c in range(self.n)}
        self.order = sorted(self.share, key=lambda c: -self.share[c])
        self.height, self.width = labels.shape

    def tokenise(self, text: str) -> str:
        text = text.lower()
        for word, label in self.tokens:
            text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", f"<{label}>", text)
        return text

    def inside(self, c: int, where: str) -> float:
        """Part of class c inside a region: letters n, s, w, e, c, or N, S, W, E for edge strips."""
        y, x = np.nonzero(self.labels == c)
        if not len(y):
            return 0.0
        y, x = (y + 0.5) / self.height, (x + 0.5) / self.width
        keep = np.ones(len(y), dtype=bool)
        tests = {
            "n": y < 0.52, "s": y > 0.48, "w": x < 0.52, "e": x > 0.48,
            "N": y < 0.27, "S": y > 0.73, "W": x < 0.27, "E": x > 0.73,
            "c": (abs(y - 0.5) < 0.27) & (abs(x - 0.5) < 0.27),
        }  # fmt: skip
        for letter in where:
            keep &= tests[letter]
        return float(keep.mean())

    def half(self, side: str, c: int) -> float:
        h, w = self.height // 2, self.width // 2
        cut = {"n": self.labels[:h], "s": self.labels[h:], "w": self.labels[:, :w],
               "e": self.labels[:, w:]}[side]  # fmt: skip
        return float((cut == c).sum() / max((cut != 255).sum(), 1))

    def patches(self, c: int) -> tuple[int, float]:
        numbered, count = ndimage.label(self.labels == c, structure=np.ones((3, 3)))
        sizes = ndimage.sum_labels(self.labels == c, numbered, range(1, count + 1))
        return int((sizes >= 4).sum()), float(sizes.max() / sizes.sum()) if count else 0.0

    @property
    def changes(self) -> float:
        """How often the class changes along a straight line across the image, on average."""
        down = (self.labels[1:] != self.labels[:-1]).sum() / self.width
        return float((down + (self.labels[:, 1:] != self.labels[:, :-1]).sum() / self.height) / 2)

    def largest_of(self, c: int) -> np.ndarray:
        """Rows and columns of the largest patch of a class."""
        numbered, count = ndimage.label(self.labels == c, structure=np.ones((3, 3)))
        sizes = [(numbered == i).sum() for i in range(1, count + 1)]
        return np.argwhere(numbered == 1 + int(np.argmax(sizes)))

    def away(self, c: int) -> float:
        """Farthest that the middle of the largest patch leaves the line between its ends, in parts
        of that line: eight slices along its longer side."""
        if not (self.labels == c).any():
            return float("nan")
        points = self.largest_of(c).astype(float)
        axis = int(np.argmax(np.ptp(points, axis=0) / (self.height, self.width)))
        along, across = points[:, axis], points[:, 1 - axis]
        edges = np.linspace(along.min(), along.max() + 1, 9)
        slices = np.digitize(along, edges)
        middle = np.array([
            [along[slices == i].mean(), across[slices == i].mean()] for i in range(1, 9)
        ])  # fmt: skip
        start, end = middle[0], middle[-1]
        direction = (end - start) / np.hypot(*(end - start))
        apart = (middle - start) @ np.array([-direction[1], direction[0]])
        return float(abs(apart).max() / np.hypot(*(end - start)))

    def roundness(self, c: int) -> float:
        """Part of the circle around the largest patch, as wide as the patch is long, it fills."""
        if not (self.labels == c).any():
            return float("nan")
        points = self.largest_of(c)
        if len(points) < 4:
            return 1.0
        corners = np.concatenate([points + shift for shift in ((0, 0), (0, 1), (1, 0), (1, 1))])
        with contextlib.suppress(QhullError):
            corners = corners[ConvexHull(corners).vertices]
        return float(len(points) / (np.pi / 4 * pdist(corners).max() ** 2))

    def touching(self, a: int, b: int) -> float:
        """Part of a's border with known classes that is with b."""
        with_b = other = 0
        padded = np.pad(self.labels, 1, constant_values=255)
        middle = padded[1:-1, 1:-1] == a
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            near = padded[1 + dy : 1 + dy + self.height, 1 + dx : 1 + dx + self.width][middle]
            with_b += (near == b).sum()
            other += ((near != a) & (near != 255)).sum()
        return with_b / max(other, 1)

    def place_holds(self, c: int, match: re.Match[str]) -> bool:
        spot = next(g for g in match.groups() if g)
        if match[0].startswith("along"):
            return self.inside(c, SIDES[spot].upper()) >= 0.75
        if spot == "throughout":
            return min(self.inside(c, q) for q in ("nw", "ne", "sw", "se")) >= 0.12
        letters = "".join(SIDES[part] for part in re.split(r"[- ]", spot))
        return self.inside(c, letters) >= (0.72 if letters in "nswe" else 0.65)

    def band(self, words: str) -> tuple[float, float]:
        return next(b for pattern, b in AMOUNT_BANDS.items() if re.fullmatch(pattern, words))

    def amount_holds(self, value: float, words: str) -> bool:
        low, high = self.band(words)
        return low - 1e-9 <= value <= high + 1e-9

    def read(self, text: str) -> Reading:
        out = Reading()
        named_before: list[int] = []
        for sentence in self.tokenise(text).rstrip(".").split(". "):
            self._read_sentence(sentence, named_before, out)
            named_before += [int(c) for c in re.findall(r"<(\d)>", sentence)]
        return out

    def _read_sentence(self, s: str, before: list[int], out: Reading) -> None:
        share, order = self.share, self.order
        denied: set[int] = set()
        for m in re.finditer(
            rf"\b(?:no|free of|without|neither) (<\d> nor <\d>|{LIST})|^({LIST}) are absent", s
        ):
            for c in map(int, re.findall(r"<(\d)>", m[0])):
                denied.add(c)
                out.add("absent", share[c] == 0 and not (self.labels == c).any())
        tokens = [int(c) for c in re.findall(r"<(\d)>", s)]
        for c in tokens:
            if c not in denied:
                out.add("present", share[c] >= 0.004)
        if denied:
            return

        # amounts
        amounts = 0
        for m in re.finditer(
            rf"(?:<(\d)> and )?<(\d)>( together)? {COVER} ({AMOUNT})(?= of |,|$| and)", s
        ):
            amounts += 1
            pair = m[1] is not None and (m[3] or "together" in s)
            out.add("amount", self.amount_holds(
                share[int(m[2])] + (share[int(m[1])] if pair else 0), m[4]))  # fmt: skip
        for m in re.finditer(rf"({AMOUNT}) of {AREA} (?:is|consists of)(?: \w+ up| \w+)*? (?:by )?"
                             rf"<(\d)>", s):  # fmt: skip
            amounts += 1
            out.add("amount", self.amount_holds(share[int(m[2])], m[1]))
        for m in re.finditer(rf"of {AREA} and <(\d)> ({AMOUNT})$", s):
            amounts += 1
            out.add("amount", self.amount_holds(share[int(m[1])], m[2]))
        rest_of_text = re.sub(
            rf"more of {AREA}|({AMOUNT}) of (?:its|their) border|large areas", "", s
        )
        bare = re.findall(rf"(?<![\w-])(?:{AMOUNT})(?= of {AREA}|$|,| of it)", rest_of_text)
        if "unlabelled" in s or "carries no" in s or "not known" in s:
            if re.search(r"^(?:for )?(?:much|part) of", s):
                out.add("unknown", self.known < (0.7 if "much" in s else 0.92))
            else:
                out.add("unknown", self.known == 0)
            return
        if len(bare) != amounts and not re.search(r"almost all", s):
            out.unread.append(f"amounts {bare} in {s!r}")

        # how much, told otherwise
        for m in re.finditer(
            rf"dominated by <(\d)>|<(\d)> (?:dominates?|prevails? in {AREA})(?! half)", s
        ):
            c = int(m[1] or m[2])
            out.add("dominates", c == order[0] and share[c] >= 0.4)
            if re.search("clearly|plainly", s):
                out.add("dominates", share[c] - share[order[1]] >= 0.2)
        for m in re.finditer(
            rf"{AREA} is {ADVERB} (?:covered by )?<(\d)>"
            r"|(?:of |^)(?:mostly|mainly|largely) <(\d)>",
            s,
        ):
            if "rest" in s or "remain" in s:
                continue
            out.add("mostly", share[int(m[1] or m[2])] > 0.5)
        for m in re.finditer(
            r"(?<!half is )almost (?:entirely|uniformly|completely|exclusively|fully)"
            r"(?: covered by)? <(\d)>"
            rf"|{AREA} is nearly all <(\d)>|almost (?:nothing but|unbroken \w+ of) <(\d)>",
            s,
        ):
            out.add("nearly all", share[int(m[1] or m[2] or m[3])] >= 0.9)
        for m in re.finditer(
            rf"(?<!almost )(?:nothing but|unbroken \w+ of) <(\d)>|<(\d)> (?:is|are) the only class"
            rf"|<(\d)> {COVER} the (?:whole|entire)|(?<!almost )"
            rf"(?:entirely|uniformly|completely) covered by <(\d)>"
            r"|the (?:whole|entire) [a-z ]+ is covered by <(\d)>",
            s,
        ):
            c = int(next(g for g in m.groups() if g))
            exact = "but" in m[0] or "only" in m[0]
            out.add("all", share[c] >= (0.99999 if exact else 0.999))
        for m in re.finditer(
            rf"<(\d)> (?:is|are) the (?:most extensive|largest) class|<(\d)> covers? more of "
            rf"{AREA} than any|<(\d)> makes? up the largest share|no class takes up more of {AREA} "
            rf"than <(\d)>",
            s,
        ):
            out.add("largest", int(next(g for g in m.groups() if g)) == order[0])

        # order and comparison
        m = re.search(r"followed by <(\d)>(?: and then <(\d)>)?", s)
        if m:
            told = [tokens[0], int(m[1])] + ([int(m[2])] if m[2] else [])
            out.add("order", told == order[: len(told)])
        m = re.search(r"<(\d)> comes? second, ahead of <(\d)>", s)
        if m:
            out.add("order", [int(m[1]), int(m[2])] == order[1:3])
        m = re.search(r"next in extent (?:is|are) <(\d)>|<(\d)> (?:is|are) second in extent", s)
        if m:
            out.add("order", int(m[1] or m[2]) == order[1])
        if re.search(r"similar (?:parts|shares)|nearly equal parts|equally extensive", s):
            a, b = tokens[:2]
            out.add("similar", abs(share[a] - share[b]) <= 0.06)
        m = re.search(r"<(\d)> (?:covers?|is only|are only|has|have) (?:slightly|a narrow).* "
                      r"(?:than|over) <(\d)>", s)  # fmt: skip
        if m:
            out.add("slightly", 0 < share[int(m[1])] - share[int(m[2])] <= 0.1)
        m = re.search(rf"(?:a mix|a mixture|a mosaic|a patchwork) of ({LIST})"
                      r"|^((?:<\d>, )*<\d> and <\d>) share "
                      rf"|combines ({LIST})", s)  # fmt: skip
        if m:
            parts = [share[int(c)] for c in re.findall(r"<(\d)>", m[0])]
            out.add("mix", min(parts) >= 0.05 and sum(parts) >= 0.6)
        if "no single class dominates" in s:
            out.add("mix", share[order[0]] < 0.5)
        m = re.search(
            rf"(?:the rest|the remainder|what remains) (?:is|consists)( {ADVERB})? (?:of )?"
            rf"<(\d)>(?: and <(\d)>)?",
            s,
        )
        if m:
            left = 1 - sum(share[c] for c in set(before))
            part = sum(share[int(c)] for c in (m[2], m[3]) if c) / max(left, 1e-9)
            out.add("rest", part >= (0.6 if m[1] else 0.93))

        # places
        places = 0
        for m in re.finditer(rf"<(\d)>([^<]*?)(?:{PLACE})", s):
            places += 1
            spot = re.compile(PLACE).search(m[0])
            assert spot is not None
            out.add("place", self.place_holds(int(m[1]), spot))
        m = re.match(rf"(?:{PLACE}) (?:lies?) <(\d)>", s)
        if m:
            places += 1
            out.add("place", self.place_holds(int(m[6]), m))
        if len(re.findall(PLACE, s)) != places:
            out.unread.append(f"places in {s!r}")
        for m in re.finditer(rf"the ({WORD}) half (?:is )?({ADVERB}|almost entirely) <(\d)>", s):
            need = 0.9 if m[2] == "almost entirely" else 0.55
            out.add("half", self.half(SIDES[m[1]], int(m[3])) >= need)
        for m in re.finditer(rf"<(\d)> prevails? in the ({WORD}) half", s):
            out.add("half", self.half(SIDES[m[2]], int(m[1])) >= 0.55)
        if len(re.findall("half (?:is|m|c|l|a)|the [a-z]+ half$", s)) and not any(
            kind == "half" for kind, _ in out.claims
        ):
            out.unread.append(f"half in {s!r}")

        # neighbours
        m = re.search(
            r"<(\d)> (?:mainly borders?|shares? most of (?:its|their) border with|lies? mostly "
            r"next to|(?:is|are) bordered mainly by) the <(\d)>",
            s,
        )
        if m:
            out.add("neighbour", self.touching(int(m[1]), int(m[2])) >= 0.55)

        # shapes
        for m in re.finditer(
            r"(strip|band|straight band) of <(\d)> (\w+) from (.*?) to (.*?)(?=,|$)", s
        ):
            c, told = int(m[2]), s[: m.end()]
            mask = self.labels == c
            spans = mask.any(axis=0).mean(), mask.any(axis=1).mean()
            x = "west" in m[4] or "left" in m[4]
            y = any(word in m[4] for word in ("north", "south", "top", "bottom"))
            holds = (not x or spans[0] >= 0.7) and (not y or spans[1] >= 0.7)
            if x and y:
                slope = np.corrcoef(*self.largest_of(c).T)[0, 1]
                holds &= (slope > 0.5) == ("north" in m[4] or "top" in m[4])
            out.add("corridor", holds and mask.mean() <= 0.25)
            words = told[max(m.start() - 22, 0) : m.end(3)]
            if re.search(r"wind|meander", words):
                out.add("winding", self.away(c) >= 0.04)
            if "straight" in words:
                out.add("straight", self.away(c) <= 0.08)
        for m in re.finditer(
            r"scattered (?:patches of )?<(\d)>|<(\d)> (?:occurs? in scattered"
            r"|is split into|forms? many separate|lies? scattered in)",
            s,
        ):
            count, largest = self.patches(int(m[1] or m[2]))
            out.add("scattered", count >= 6 and largest <= 0.5)
        pieces = [(m[1], m[2]) for m in re.finditer(rf"({PIECE}) of <(\d)>", s)]
        pieces += [(m[2], m[1]) for m in re.finditer(rf"<(\d)> (?:forms?|lies? in) ({PIECE})", s)]
        pieces += [("block", m[1]) for m in re.finditer(r"a large block of <(\d)>", s)]
        for words, label in pieces:
            out.add("block", self.patches(int(label))[1] >= 0.9)
            if "compact" in words:
                out.add("compact", self.roundness(int(label)) >= 0.35)
            if "elongated" in words or "long" in words:
                out.add("elongated", self.roundness(int(label)) <= 0.5)
        if len(re.findall(PIECE, s)) != sum(words != "block" for words, _ in pieces):
            out.unread.append(f"pieces in {s!r}")
        for words, low, high in (("a few patches", 2, 8), ("many patches", 15, 10**9)):
            for m in re.finditer(rf"{words} of <(\d)>", s):
                out.add("patches", low <= self.patches(int(m[1]))[0] <= high)
        if re.search(r"fine mix|fine-grained|finely|alternate over short", s):
            out.add("fine", self.changes >= 11)
        if re.search(r"hardly mix|keep largely apart|few and clear borders", s):
            out.add("apart", self.changes <= 9)
        for m in re.finditer(rf"(?:small areas|traces) of ({LIST})", s):
            small = [share[int(c)] for c in re.findall(r"<(\d)>", m[0])]
            out.add("small", max(small) <= 0.1)
        for m in re.finditer(r"large areas of <(\d)>", s):
            out.add("large", share[int(m[1])] >= 0.18)
