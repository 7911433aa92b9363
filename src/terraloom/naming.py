"""Which classes a caption names as present: a lexical reader for anybody's captions.

It knows the table's names and synonyms, simple plurals and the common negations; it does not know
paraphrases that are not in the table ("lake" for water). The longest phrase wins, so "mangrove
forest" names mangroves and not trees.
"""

import re
from functools import lru_cache
from typing import Final

from terraloom.classes import ClassTable, LandClass

_ARTICLE: Final = re.compile(r"^(?:an?|the)\s+")
# What may hang on a phrase with a hyphen and leave it a thing that is there.
_SUFFIX: Final = r"(?:-(?:covered|dominated|lined|filled|rich))"
# Where a denial ends at the latest.
_BOUNDARY: Final = re.compile(
    r"[.;:!?()]|\b(?:but|while|whereas|although|though|however|yet|except|besides|beyond|with|"
    r"only|which|where|(?:apart|aside) from|other than|instead)\b"
)
_NEGATOR: Final = re.compile(
    r"\b(?:no|not|without|neither|nor|never|lacks?|lacking|devoid of|absence of|lack of|"
    r"free (?:of|from))\b"
)
# "No class takes up more of it than trees" and "not only trees" deny nothing about the trees.
_NO_DENIAL: Final = re.compile(
    r"\b(?:no (?:other|single|more|less|fewer|longer|doubt)|not (?:only|just|merely)|"
    r"no (?:class|cover|land cover|type|category)\b.{0,60}?\bthan)\b"
)
_VERB: Final = re.compile(
    r"\b(?:is|are|was|were|seems?|remains?|covers?|dominates?|occup(?:y|ies)|makes?|takes?|lies?|"
    r"surrounds?|borders?|fills?|forms?|extends?|spreads?|appears?|prevails?|runs?|stretch(?:es)?|"
    r"accounts?|shares?|consists?|stands?|can)\b"
)
_IS_ABSENT: Final = re.compile(
    r"(?:is|are|was|were|seems?|remains?|can)\s+(?:(?:both|all|entirely|completely|wholly)\s+)?"
    r"(?:absent|missing|lacking|nowhere|not\s+(?:present|visible|seen|found|there|apparent|be|to))"
)


@lru_cache(maxsize=64)
def _phrase_pattern(classes: ClassTable) -> tuple[re.Pattern[str], dict[str, frozenset[int]]]:
    """A pattern of every phrase of the table, longest first, and whose phrase each is."""
    owners: dict[str, set[int]] = {}
    for label, land_class in enumerate(classes.classes):
        for phrase in (land_class.name, *land_class.synonyms):
            for form in _forms(phrase):
                owners.setdefault(form, set()).add(label)
    ordered = sorted(owners, key=lambda form: (-len(form), form))
    body = "|".join(re.escape(form).replace(r"\ ", r"[\s-]+") for form in ordered)
    pattern = re.compile(rf"(?<![\w-])(?:{body}){_SUFFIX}?(?!\w)(?!-(?!free\b))")
    return pattern, {form: frozenset(labels) for form, labels in owners.items()}


def _forms(phrase: str) -> set[str]:
    """A phrase without article in singular and plural, as far as endings tell."""
    plain = _ARTICLE.sub("", " ".join(phrase.replace("_", " ").casefold().split()))
    forms = {plain, plain.replace("-", " ")} if plain else set()
    for form in tuple(forms):
        if form.endswith(("s", "x", "z", "ch", "sh")):
            forms.add(form + "es")
        elif re.search(r"[^aeiou]y$", form):
            forms.add(form[:-1] + "ies")
        else:
            forms.add(form + "s")
        if form.endswith("s") and not form.endswith(("ss", "us", "is")):
            forms.add(form[:-1])
    return forms


def named_classes(text: str, classes: ClassTable) -> frozenset[int]:
    """Labels of the classes that a caption names as present.

    Case, plural and hyphens do not matter; a phrase inside a longer one of another class does not
    count; a denied mention ("no water or trees", "water is absent", "water-free") does not either.
    A phrase that two classes share names both.
    """
    pattern, owners = _phrase_pattern(classes)
    lowered = text.casefold()
    found: set[int] = set()
    for match in pattern.finditer(lowered):
        if _is_denied(lowered[: match.start()], lowered[match.end() :]):
            continue
        form = re.sub(_SUFFIX + "$", "", " ".join(match[0].split()))
        found |= owners.get(form) or owners.get(form.replace("-", " ")) or frozenset()
    return frozenset(found)


def named_spans(text: str, classes: ClassTable) -> list[tuple[int, int, int]]:
    """Where a text mentions classes, denied or not: (start, stop, label), in order.

    A phrase that several classes share counts for the first of them. Texts whose lower-case form
    has another length (as with a Turkish capital I) have no spans.
    """
    pattern, owners = _phrase_pattern(classes)
    lowered = text.casefold()
    if len(lowered) != len(text):
        return []
    spans = []
    for match in pattern.finditer(lowered):
        form = re.sub(_SUFFIX + "$", "", " ".join(match[0].split()))
        labels = owners.get(form) or owners.get(form.replace("-", " "))
        if labels:
            spans.append((match.start(), match.end(), min(labels)))
    return spans


def names_class(text: str, land_class: LandClass, classes: ClassTable) -> bool:
    """Whether a caption names `land_class`, one of `classes`, as present.

    Raises:
        ValueError: `land_class` is not in the table.
    """
    if land_class.name not in classes.names:
        raise ValueError(f"{land_class.name!r} is not in the class table: {list(classes.names)}")
    return classes.names.index(land_class.name) in named_classes(text, classes)


def _is_denied(before: str, after: str) -> bool:
    """Whether the words around a phrase deny that the thing is there."""
    rest = _BOUNDARY.split(after, maxsplit=1)[0]
    clause = _NO_DENIAL.sub(" ", _BOUNDARY.split(before)[-1])
    negators = list(_NEGATOR.finditer(clause))
    if negators:
        scope = clause[negators[-1].end() :]
        # A comma carries a denial on only in a list with "or": "with no water, trees cover ..."
        goes_on = "," not in scope or re.search(r"\bn?or\b", scope) or re.match(
            r"\s*(?:,|n?or\b)", rest
        )  # fmt: skip
        if goes_on and not _VERB.search(scope):
            return True
    verb = _VERB.search(rest)
    return rest.startswith(("-free", " free ")) or (
        verb is not None and _IS_ABSENT.match(rest, verb.start()) is not None
    )
