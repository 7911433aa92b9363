"""Which English words mean which class of a table.

Built-in words are grouped by concept ("tree", "road", "water"). A class of the table takes on a
concept when its name or one of its synonyms is a word of it; a concept that no class takes on goes
to its parent's class (roads are built-up land where there is no class of roads). The table's own
names and synonyms come first: `synonyms` in the class table is where a user extends the lexicon.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from terraloom.classes import ClassTable

_ARTICLE: Final = re.compile(r"^(?:an?|the)\s+")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a phrase means."""

    label: int | None
    """Of the class; None for things that are no land cover, such as a football field."""
    fine: bool = False
    """The thing may be narrower than a pixel of the mask."""
    adjective: bool = False
    """Describes: "forested", "residential"."""


@dataclass(frozen=True)
class _Concept:
    nouns: str
    """Separated by "|"; plurals follow."""
    adjectives: str = ""
    fine: str = ""
    """Nouns for what may be narrower than a pixel."""
    parent: str | None = None


_CONCEPTS: Final = {
    "vegetation": _Concept("vegetation|greenery|green land|green space|plant|plant cover"),
    "tree": _Concept(
        "tree|tree cover|tree canopy|tree vegetation|forest|forest cover|forest canopy|forest land|"
        "forestland|woods|woodland|woodlot|canopy|grove|copse|jungle|rainforest|orchard|pine tree|"
        "palm tree|palm|pine|fir|oak|conifer|broadleaf|tree stand|hardwood|treetop",
        "forested|wooded|afforested|reforested|treed",
        parent="vegetation",
    ),
    "mangrove": _Concept("mangrove|mangrove forest|mangrove swamp", parent="tree"),
    "shrub": _Concept(
        "shrub|shrubland|shrub land|bush|bushland|scrub|scrubland|heath|heathland|thicket|maquis|"
        "chaparral|brushland|shrub cover|undergrowth|moorland",
        "shrubby|scrubby",
        parent="vegetation",
    ),
    "grass": _Concept(
        "grass|grassland|grass land|grass field|grass cover|meadow|meadowland|lawn|pasture|"
        "pastureland|pasture land|prairie|savanna|savannah|steppe|turf|rangeland|grazing land|"
        "herbaceous cover|herbaceous vegetation",
        "grassy|grassed",
        parent="vegetation",
    ),
    "crop": _Concept(
        "crop|cropland|crop land|crop field|farmland|farm land|farm|farm field|field|"
        "agricultural land|agricultural field|agricultural area|agriculture|agricultural plot|"
        "cultivated land|cultivated field|cultivated area|arable land|tilled land|paddy|"
        "paddy field|rice paddy|rice field|cornfield|corn field|wheat field|wheatfield|vineyard|"
        "plantation|ploughed land|plowed land|farming area|farming land|planted field|"
        "terraced field",
        "agricultural|cultivated|farmed|arable|tilled|ploughed|plowed",
        parent="vegetation",
    ),
    "built": _Concept(
        "building|house|housing|housing estate|farmhouse|home|edifice|villa|residence|"
        "residential area|residential region|residential district|residential zone|settlement|"
        "town|village|hamlet|city|suburb|built-up|built-up area|built-up land|"
        "built-up development|built area|buildup area|urban area|urban fabric|urban land|"
        "urban development|industrial area|industrial zone|industrial site|industrial park|"
        "commercial area|commercial district|developed area|developed land|factory|plant building|"
        "warehouse|school|campus|stadium|church|cathedral|temple|airport|station|railway station|"
        "train station|runway|flight strip|airstrip|parking|parking lot|parking space|car park|"
        "truck parking|port|harbour|harbor|dock|pier|wharf|square|plaza|storage tank|oil tank|tank|"
        "water tower|tower|power plant|treatment plant|water treatment plant|dam|roof|rooftop|gym|"
        "gymnasium|resort|theme park|amusement park|neighbourhood|neighborhood|downtown|apartment|"
        "hotel|hospital|mall|terminal|skyscraper|impervious surface|infrastructure|metropolis|"
        "quay|depot|cityscape|townscape|artificial surface|human habitation|block of flats",
        "residential|urban|suburban|industrial|commercial|urbanised|urbanized",
    ),
    "road": _Concept(
        "motorway|freeway|expressway|road network",
        fine="road|roadside|roadway|street|highway|path|pathway|trail|dirt track|lane|railway|"
        "railroad|rail line|bridge|viaduct|overpass|crossroad|crossroads|intersection|roundabout|"
        "avenue|alley|road junction",
        parent="built",
    ),
    "bare": _Concept(
        "bare land|bareland|bare ground|bare soil|bare earth|bare rock|bare area|bare surface|"
        "bare field|bare terrain|bare patch|barren|barren land|barren area|barren ground|"
        "barren soil|barren terrain|barren patch|desert|sand|sandland|sand dune|dune|beach|rock|"
        "bedrock|rock outcrop|outcrop|exposed rock|exposed soil|exposed earth|exposed ground|"
        "brown earth|rock formation|wasteland|badland|gravel|quarry|salt flat|scree|sandbar|"
        "mudflat|sparse vegetation|sparsely vegetated ground|sparsely vegetated land|bare hill|"
        "bare mountain|boulder",
        "rocky|sandy|arid|sparsely vegetated|desertic",
    ),
    "water": _Concept(
        "water|water body|body of water|water surface|open water|waters|river|riverbank|river bank|"
        "riverside|lake|lakeshore|lakeside|pond|sea|ocean|reservoir|waterway|watercourse|lagoon|"
        "its shores|their shores|river channel|estuary|fjord|water channel|inlet|its banks|"
        "their banks|"
        "the banks of the river",
        fine="stream|creek|brook|canal|rivulet|streambed|ditch",
    ),
    "snow": _Concept("snow|ice|snow and ice|glacier|snowfield|ice sheet", "snowy|icy|glaciated"),
    "wetland": _Concept(
        "wetland|marsh|marshland|swamp|bog|fen|reed|reedbed|herbaceous wetland|peatland",
        "marshy|swampy",
    ),
    "moss": _Concept("moss|lichen|moss and lichen"),
}  # fmt: skip

# Phrases that hold a word for land cover and are none, or none that a mask could show.
_NO_COVER: Final = (
    "river valley|stream valley|river basin|river bed|dry river|dry riverbed|dry lake|"
    "drainage channel|forest floor|forest fire|forest density|field of view|open field|"
    "basketball field|football field|baseball field|soccer field|sports field|sport field|"
    "playing field|athletic field|athletics field|hockey field|rugby field|magnetic field|"
    "ground track field|tennis court|basketball court|swimming pool|golf course|"
    "agricultural activity|agricultural activities|agricultural development|agricultural use|"
    "agricultural practice|agricultural production|urban activity|urban green|water level|"
    "water quality|water tank truck|house plant|power line|rock music|city name|sand trap|"
    "square metre|square meter|square kilometre|square kilometer|square mile|home page|"
    "port side|field trip|water park|industrial plant life"
)

# "Forest covers" is a noun and its verb.
_MASS: Final = ("cover", "agriculture", "vegetation", "greenery", "housing", "parking", "turf")

SCENE_NOUNS: Final = frozenset(("landscape", "scene", "scenery", "region", "countryside", "image"))
"""A class's adjective before one of these describes the whole: "a forested landscape"."""


def normal(phrase: str) -> str:
    """A phrase as it is looked up: lower case, no article, single spaces, no hyphens."""
    plain = " ".join(re.sub(r"[-_/]", " ", phrase.casefold()).split())
    return _ARTICLE.sub("", plain)


def forms(phrase: str) -> set[str]:
    """A phrase in singular and plural, as far as endings tell."""
    plain = normal(phrase)
    if not plain:
        return set()
    found = {plain}
    if plain.endswith(_MASS):
        return found
    if plain.endswith(("sh", "ch", "x", "z", "ss")):
        found.add(plain + "es")
    elif re.search(r"[^aeiou]y$", plain):
        found.add(plain[:-1] + "ies")
    elif not plain.endswith("s"):
        found.add(plain + "s")
    elif not plain.endswith(("us", "is")):
        found.add(plain[:-1])
    return found


def _phrases(concept: _Concept) -> Iterator[tuple[str, bool, bool]]:
    """(phrase, fine, adjective) of a concept."""
    for text, fine in ((concept.nouns, False), (concept.fine, True)):
        for phrase in filter(None, text.split("|")):
            for form in forms(phrase):
                yield form, fine, False
    for phrase in filter(None, concept.adjectives.split("|")):
        yield normal(phrase), False, True


@lru_cache(maxsize=64)
def lexicon(classes: ClassTable) -> dict[str, Entry]:
    """What each phrase means for this class table; phrases as `normal` gives them.

    A phrase that the names and synonyms of two classes share means neither.
    """
    own: dict[str, set[int]] = {}
    for label, land in enumerate(classes.classes):
        for phrase in (land.name, *land.synonyms):
            for form in forms(phrase):
                own.setdefault(form, set()).add(label)
    words = {
        name: {form for form, _, _ in _phrases(concept)} for name, concept in _CONCEPTS.items()
    }
    taken: dict[str, int] = {}
    for label, land in enumerate(classes.classes):
        # The name decides before the synonyms: "moss and lichen" may be listed under grass.
        for phrase in (land.name, *land.synonyms):
            for name, known in words.items():
                if normal(phrase) in known:
                    taken.setdefault(name, label)
    found: dict[str, Entry] = {}
    for name, concept in _CONCEPTS.items():
        label_of = taken.get(name)
        above = concept.parent
        while label_of is None and above is not None:
            label_of, above = taken.get(above), _CONCEPTS[above].parent
        if label_of is not None:
            for form, fine, adjective in _phrases(concept):
                found[form] = Entry(label_of, fine, adjective)
    for phrase in _NO_COVER.split("|"):
        for form in forms(phrase):
            found[form] = Entry(None)
    for form, labels in own.items():
        if len(labels) > 1:
            found[form] = Entry(None)
            continue
        (label,) = labels
        entry = found.get(form)
        if entry is None or entry.label != label:
            found[form] = Entry(label)
    return found
