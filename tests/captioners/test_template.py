"""The template captioner, checked by an oracle that shares no code with it."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage
from tests.captioners.caption_oracle import SEVEN_WORDS, Oracle
from tests.claims.masks import drawn_mask

from terraloom.captioners._face import Scene, shown_to
from terraloom.captioners.template import Settings, build
from terraloom.classes import ClassTable, LandClass, preset
from terraloom.facts import measure_facts
from terraloom.naming import named_classes
from terraloom.redundancy import exact_redundancy

DATA = Path(os.environ.get("TERRALOOM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
SEVEN = preset("worldcover7")
USER = ClassTable(
    classes=(
        LandClass(name="Built-up", colour=(1, 0, 0)),
        LandClass(name="vegetation", colour=(2, 0, 0)),
        LandClass(name="Water", colour=(3, 0, 0)),
        LandClass(name="road", colour=(4, 0, 0)),
        LandClass(name="band_4", colour=(5, 0, 0)),
    )
)
USER_WORDS = {
    0: ("built-up land",), 1: ("vegetation",), 2: ("water",), 3: ("roads",), 4: ("band four",),
}  # fmt: skip

# ------------------------------------------------------------------------------------- the masks


def blobs(seed: int, num_classes: int, size: tuple[int, int] = (96, 112)) -> np.ndarray:
    """A blobby mask of a random subset of the classes, some with unknown parts or a river."""
    rng = np.random.default_rng(seed)
    sigma = float(rng.uniform(1.5, 14))
    fields = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=size), sigma, mode="reflect")
         for _ in range(num_classes)]
    )  # fmt: skip
    fields /= fields.std(axis=(1, 2), keepdims=True)
    fields += rng.normal(0, 1.2, size=(num_classes, 1, 1))
    ramp = np.linspace(-1, 1, size[0])[:, None] * rng.normal(0, 0.8, size=(num_classes, 1, 1))
    fields = fields + ramp + np.linspace(-1, 1, size[1]) * rng.normal(0, 0.8, (num_classes, 1, 1))
    gone = rng.permutation(num_classes)[: rng.integers(0, num_classes)]
    fields[gone] = -np.inf
    labels = fields.argmax(axis=0).astype(np.uint8)
    if seed % 4 == 0:
        river = (np.arange(size[1]) * rng.uniform(-0.7, 0.7) + size[0] * rng.uniform(0.3, 0.7)
                 + 4 * np.sin(np.arange(size[1]) / 9))  # fmt: skip
        distance = abs(np.arange(size[0])[:, None] - river)
        labels[distance < rng.uniform(1, 5)] = rng.integers(num_classes)
    if seed % 5 == 0:
        labels[: rng.integers(1, size[0]), : rng.integers(1, size[1])] = 255
    return np.rot90(labels, seed % 3).copy()


def real_masks() -> list[np.ndarray]:
    folder = DATA / "worldcover_pairs" / "masks"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    return [SEVEN.labels_of_codes(np.array(Image.open(p))) for p in sorted(folder.glob("*.png"))]


def scene(sample_id: str, labels: np.ndarray | None, compass: bool = True) -> Scene:
    return Scene(sample_id, None, labels, None, compass)


def texts_of(masks: list[np.ndarray], table: ClassTable = SEVEN, **given: bool) -> list[list[str]]:
    writer = build(Settings(), table, 7)
    scenes = [scene(f"s{i}", m, **given) for i, m in enumerate(masks)]
    return [[c.text for c in own] for own in writer.write(scenes)]


def contradictions(
    masks: list[np.ndarray], texts: list[list[str]], words: dict[int, tuple[str, ...]]
) -> tuple[list[str], list[str], dict[str, int], int]:
    """False claims, unread amounts and places, number of claims by kind, contradicted captions."""
    false, unread, kinds, captions = [], [], {}, 0
    for i, (mask, own) in enumerate(zip(masks, texts, strict=True)):
        oracle = Oracle(mask, words)
        for text in own:
            reading = oracle.read(text)
            captions += bool(reading.false)
            false += [f"{i}: {kind}: {text}" for kind in reading.false]
            unread += reading.unread
            for kind, _ in reading.claims:
                kinds[kind] = kinds.get(kind, 0) + 1
    return false, unread, kinds, captions


ALL_KINDS = {
    "present", "absent", "amount", "dominates", "mostly", "largest", "order", "rest", "place",
    "half", "scattered", "block", "patches", "small", "large", "mix", "similar", "slightly",
    "neighbour", "corridor",
}  # fmt: skip

# -------------------------------------------------------------------------------------- the tests


def test_no_caption_of_a_real_mask_is_contradicted() -> None:
    masks = real_masks()
    texts = texts_of(masks)
    false, unread, kinds, _ = contradictions(masks, texts, SEVEN_WORDS)
    assert false == []
    assert unread == []
    assert sum(kinds.values()) > 4 * sum(map(len, texts))
    flat = [t for own in texts for t in own]
    assert exact_redundancy(flat).redundancy < 0.01


@pytest.mark.parametrize(("compass", "start"), [(True, 0), (False, 1000)])
def test_no_caption_of_a_random_mask_is_contradicted(compass: bool, start: int) -> None:
    masks = [blobs(start + seed, 7) for seed in range(200)]
    false, unread, kinds, _ = contradictions(masks, texts_of(masks, compass=compass), SEVEN_WORDS)
    assert false == []
    assert unread == []
    assert set(kinds) >= ALL_KINDS


def test_no_caption_of_a_mask_of_any_entropy_is_contradicted() -> None:
    masks = [drawn_mask(seed) for seed in range(150, 350)]
    false, unread, kinds, _ = contradictions(masks, texts_of(masks), SEVEN_WORDS)
    assert false == []
    assert unread == []
    assert {"all", "nearly all", "mix", "unknown", "corridor"} <= set(kinds)


def test_captions_of_a_users_table_are_not_contradicted() -> None:
    masks = [blobs(seed, 5) for seed in range(150)]
    texts = texts_of(masks, USER)
    assert contradictions(masks, texts, USER_WORDS)[:2] == ([], [])
    joined = " ".join(t for own in texts for t in own).lower()
    assert "built-up land" in joined
    assert "roads cover" in joined or "roads make up" in joined or "roads are" in joined
    assert not re.search(r"\broad\b|\d|_", joined)


def test_the_oracle_finds_swapped_class_words() -> None:
    masks = [blobs(seed, 7) for seed in range(80)]
    swapped = {(c + 1) % 7: words for c, words in SEVEN_WORDS.items()}
    texts = texts_of(masks)
    assert contradictions(masks, texts, swapped)[3] > 0.97 * 5 * len(masks)


def test_the_oracle_finds_captions_of_another_mask() -> None:
    masks = [blobs(seed, 7) for seed in range(80)]
    texts = texts_of(masks)
    assert contradictions(masks[1:], texts[:-1], SEVEN_WORDS)[3] > 0.8 * 5 * len(texts[1:])


def test_the_oracle_finds_turned_places() -> None:
    masks = [blobs(seed, 7) for seed in range(80)]
    texts = [
        [t for t in own if re.search(r"\b(in|along) the (north|south|east|west)|ern half", t)]
        for own in texts_of(masks)
    ]
    turned = [np.rot90(mask, 2).copy() for mask in masks]
    count = sum(map(len, texts))
    assert count > 80
    found = contradictions(turned, texts, SEVEN_WORDS)
    assert found[3] > 0.85 * count
    assert all(re.search(r"^\d+: (place|half|corridor):", line) for line in found[0])


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("Trees cover about a quarter of the scene.", True),
        ("Trees cover most of the scene.", False),
        ("Crops dominate the scene, with trees in the north-west.", True),
        ("Crops dominate the scene, with trees in the south.", False),
        ("No water is visible.", True),
        ("No trees are visible.", False),
        ("The scene is dominated by trees.", False),
        ("Trees mainly border the crops.", True),
        ("Trees mainly border the water.", False),
    ],
)
def test_the_oracle_reads_as_people_do(text: str, holds: bool) -> None:
    labels = np.full((40, 40), 3, dtype=np.uint8)
    labels[:20, :20] = 0
    assert (Oracle(labels, SEVEN_WORDS).read(text).false == []) is holds


@pytest.mark.parametrize("table", [SEVEN, USER, preset("worldcover11")], ids=["7", "user", "11"])
def test_captions_are_short_clean_different_and_name_the_dominant_class(table: ClassTable) -> None:
    masks = [blobs(seed, len(table)) for seed in range(60)]
    for mask, own in zip(masks, texts_of(masks, table), strict=True):
        assert len(set(own)) == 5
        dominant = measure_facts(mask, table).dominant
        for text in own:
            assert re.fullmatch(r"[A-Z][a-zA-Z ,'-]+\.( [A-Z][a-zA-Z ,'-]+\.)?", text), text
            assert len(text.split()) <= Settings().max_words
            assert not re.search(r"\b(\w+) \1\b|,,|  ", text), text
            if dominant is not None:
                expected = table.classes[dominant].name
                plain = text if expected != "road" else text.replace("roads", "road")
                named = named_classes(plain.replace("band four", "band 4"), table)
                assert dominant in named or expected == "band_4", text


@pytest.mark.parametrize("text_pattern", [
    r"\b(trees|crops|shrubs|bushes|buildings|cultivated fields) (is|covers|occupies|takes|lies|"
    r"makes|accounts|dominates|forms|appears|occurs|extends|spreads|shares|has|comes)\b",
    r"(?<!and )\b(grass|grassland|cropland|water|woodland|forest|meadow|pasture|scrub|bare soil) "
    r"(are|cover|occupy|take|lie|dominate|form|appear|occur|extend|spread|share|have|come)\b",
    r"\b(a|an|the) (a|an|the)\b|\ba [aeiou]|\ban [^aeiou]",
])  # fmt: skip
def test_grammar_agrees(text_pattern: str) -> None:
    masks = [blobs(seed, 7) for seed in range(150)]
    for own in texts_of(masks):
        for text in own:
            found = re.search(text_pattern, text, re.IGNORECASE)
            # "trees and grassland cover" is right: look at what stands before.
            if found and not re.search(
                r"(and|or|nor|but|of)( open| bare)? $", text[: found.start()]
            ):
                pytest.fail(f"{found[0]!r} in {text!r}")


def test_degenerate_masks_get_five_different_captions_without_a_false_word() -> None:
    speck = np.zeros((64, 64), dtype=np.uint8)
    speck[0, 0] = 4
    masks = [
        np.full((8, 9), 255, dtype=np.uint8),
        np.zeros((1, 1), dtype=np.uint8),
        np.full((30, 5), 6, dtype=np.uint8),
        speck,
        np.array([[0, 1], [255, 255]], dtype=np.uint8),
        np.arange(7, dtype=np.uint8).reshape(1, 7),
    ]
    texts = texts_of(masks)
    assert [len(set(own)) for own in texts] == [5] * len(masks)
    assert contradictions(masks, texts, SEVEN_WORDS)[0] == []
    assert not any(
        word in " ".join(texts[0]).lower() for own in SEVEN_WORDS.values() for word in own
    )
    # One pixel of buildings in 4,096 is neither told nor denied.
    assert "build" not in " ".join(texts[3]) + " ".join(texts[3]).replace("settlement", "build")


def test_a_caption_depends_on_seed_id_and_mask_not_on_batch_mates_or_order() -> None:
    scenes = [scene(f"id{i}", blobs(i, 7)) for i in range(6)]
    writer = build(Settings(), SEVEN, 3)
    forward = writer.write(scenes)
    assert writer.write(scenes[::-1]) == forward[::-1]
    assert [writer.write([s])[0] for s in scenes] == forward
    assert build(Settings(), SEVEN, 4).write(scenes) != forward
    assert [c.index for c in forward[0]] == list(range(5))
    assert {c.writer for own in forward for c in own} == {"template"}
    assert forward[0][0].saw == ("layout",)
    fewer = build(Settings(captions_per_image=2), SEVEN, 3).write(scenes)
    assert fewer == [own[:2] for own in forward]


def test_writers_are_shown_what_they_declare_and_refuse_to_guess() -> None:
    writer = build(Settings(), SEVEN, 0)
    full = Scene("a", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8),
                 np.ones(7, np.float32), True, feedback="no trees")  # fmt: skip
    (shown,) = shown_to(writer, [full])
    assert shown.image is None
    assert shown.shares is None
    assert shown.feedback is None
    assert shown.labels is full.labels
    with pytest.raises(ValueError, match="a: the template captioner needs the label mask"):
        writer.write([full.only(())])


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="captions"):
        Settings(captions=3)  # type: ignore[call-arg]
