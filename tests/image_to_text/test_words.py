"""Words as numbers: fitted on train captions alone, back again, and unharmed by hostile text."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.image_to_text.toy import toy_captioned

from terraloom.errors import BadCheckpoint, NewerFormat, NothingLeft, RoleError
from terraloom.image_to_text.captioned import captioned_train, captioned_val
from terraloom.image_to_text.words import END, UNKNOWN_WORD, WordTokenizer, split_words
from terraloom.testing import toy_rows

TEXT = (
    "Crop covers most of the scene, built-up land (little) lies in the north-west. Water is absent."
)


def test_captions_of_the_template_come_back_word_for_word():
    train, _ = toy_captioned(20)
    words = WordTokenizer.fit(train, 1000)
    texts = [text for own in train.texts for text in own]
    assert len(set(texts)) > 30
    for text in texts:
        back = words.decode(words.encode(text, 100))
        assert back.lower() == text.lower()
        assert back[0].isupper()


def test_sentences_begin_with_capitals_and_signs_hug_their_words():
    words = WordTokenizer(sorted(set(split_words(TEXT))))
    assert words.decode(words.encode(TEXT, 100)) == TEXT


def test_only_words_of_train_captions_are_known():
    rows, held = toy_rows(2, 2)
    texts = {row.id: ("A lake lies there.",) for row in rows.rows}
    texts |= {row.id: ("A glacier lies there.",) for row in held.rows}
    train, val = captioned_train(rows, texts), captioned_val(held, texts)
    words = WordTokenizer.fit(train, 100)
    assert set(words.words) == {"a", "lake", "lies", "there", "."}
    assert words.encode("A glacier", 9)[1] == UNKNOWN_WORD
    with pytest.raises(RoleError, match="train rows only"):
        WordTokenizer.fit(val, 100)
    with pytest.raises(RoleError, match="fitted on TrainRows only"):
        captioned_train(held, texts)
    with pytest.raises(RoleError, match="steered by ValRows only"):
        captioned_val(rows, texts)


def test_the_commonest_words_are_kept_and_ties_go_by_the_alphabet():
    rows, _ = toy_rows(1, 1)
    texts = {rows.rows[0].id: ("b b b a a d c",)}
    train = captioned_train(rows, texts)
    assert WordTokenizer.fit(train, 3).words == ("b", "a", "c")


def test_captions_without_a_word_leave_nothing_to_learn():
    rows, _ = toy_rows(1, 1)
    with pytest.raises(NothingLeft, match="none of 1 train rows has a caption"):
        captioned_train(rows, {})
    with pytest.raises(NothingLeft, match="no word to learn"):
        WordTokenizer.fit(captioned_train(rows, {rows.rows[0].id: ("\u200b",)}), 9)


def test_a_long_caption_is_cut_and_still_ends():
    words = WordTokenizer(["a"])
    assert words.encode("a " * 50, 4) == [4, 4, 4, 4, END]
    assert len(words.encode("x" * 1_000_000, 4)) == 2
    assert words.decode([4, END, 4]) == "A"


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_encoded_and_what_comes_back_is_stable(text):
    known = split_words(text)
    words = WordTokenizer(sorted(set(known)))
    numbers = words.encode(text, 200)
    assert numbers[-1] == END
    assert END not in numbers[:-1]
    back = words.decode(numbers)
    back.encode("utf-8")
    assert [w.lower() for w in split_words(back)] == split_words(back)


def test_marks_that_look_special_are_words():
    text = "<end> <|endoftext|> [PAD] water"
    words = WordTokenizer(sorted(set(split_words(text))))
    numbers = words.encode(text, 50)
    assert numbers.count(END) == 1
    assert "water" in words.decode(numbers)


def test_a_vocabulary_is_json_and_a_damaged_one_is_told(tmp_path):
    path = tmp_path / "words.json"
    words = WordTokenizer(["water", "é", "</script>"])
    words.save(path)
    assert json.loads(path.read_text())["words"] == ["water", "é", "</script>"]
    assert WordTokenizer.load(path).words == words.words
    path.write_text('{"version": 99, "words": []}')
    with pytest.raises(NewerFormat):
        WordTokenizer.load(path)
    for bad in (
        '{"version": 1}',
        '{"version": 1, "words": [1]}',
        "{",
        '{"version":1,"words":["a","a"]}',
    ):
        path.write_text(bad)
        with pytest.raises(BadCheckpoint, match="holds no vocabulary"):
            WordTokenizer.load(path)
