"""Text whose writer saw the answer is no input; it stays a fair target."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terraloom.caption_inputs import leak_of, refuse_leaking_input
from terraloom.captioners._face import VISIBLE, Caption
from terraloom.captioners.template import Settings, build
from terraloom.captioning import caption_samples
from terraloom.errors import InputError, LeakingInput
from terraloom.testing import toy_classes, write_real

SAFE = {"id": "a", "text": "Trees beside a lake.", "writer": "openai", "saw": ["image"]}


def test_captions_of_the_image_alone_may_be_inputs():
    refuse_leaking_input([SAFE, {**SAFE, "saw": []}], task="a test")
    refuse_leaking_input([], task="a test")
    told = Caption("a", 0, "Trees.", "openai", "vision", ("image",), "m", "p", 1, "d")
    refuse_leaking_input([told], task="a test")


@given(st.lists(st.sampled_from(VISIBLE), unique=True))
def test_whoever_saw_more_than_the_image_is_refused(saw):
    leaks = bool({"shares", "layout", "feedback"} & set(saw))
    assert (leak_of(saw, SAFE["text"]) is not None) == leaks
    if leaks:
        with pytest.raises(LeakingInput, match="1 of 2 captions"):
            refuse_leaking_input([SAFE, {**SAFE, "id": "b", "saw": saw}], task="a test")


@pytest.mark.parametrize(
    "text", ["40 trees", "Trees on forty percent", "٤ fields", "½ water", "5%", "per cent of it"]
)
def test_figures_are_refused_whoever_wrote_them(text):
    with pytest.raises(LeakingInput, match="digits or percentages"):
        refuse_leaking_input([{**SAFE, "text": text}], task="a test")


def test_not_knowing_what_was_seen_is_a_leak():
    with pytest.raises(LeakingInput, match="nobody recorded"):
        refuse_leaking_input([{**SAFE, "saw": None}], task="a test")


def test_the_message_tells_task_count_first_and_way_out():
    rows = [SAFE, {**SAFE, "id": "b", "saw": ["layout"]}, {**SAFE, "id": "c", "saw": ["shares"]}]
    with pytest.raises(InputError) as caught:
        refuse_leaking_input(iter(rows), task="text-to-mask training")
    told = str(caught.value)
    assert "text-to-mask training predicts class shares or masks, and 2 of 3" in told
    assert "b, by openai: its writer saw layout" in told
    assert 'mode = "vision"' in told


def test_the_grammars_captions_are_refused_as_rows_of_their_table(tmp_path):
    table = caption_samples(
        write_real(tmp_path / "s", 2, 1, 1), build(Settings(), toy_classes(), 0),
        tmp_path / "real", settings_sha256="0" * 64, description="t",
    )  # fmt: skip
    rows = table.read(["id", "text", "writer", "saw"]).to_pylist()
    with pytest.raises(LeakingInput, match="20 of 20"):
        refuse_leaking_input(rows, task="a test")
