"""Captions as inputs: text whose writer saw the answer is refused, before anything learns from it.

Whoever saw class shares, the mask, or what contradicts the mask, may have written it down. Such a
caption is a fair *target* (a captioner may learn to write it from the image), and never an *input*
of a task that predicts shares or mask: a model would read the answer. Each caption records what its
writer saw; every place where captions become inputs calls `refuse_leaking_input` first.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from terraloom.captioners._face import Caption, Visible
from terraloom.captioners._texts import holds_figures
from terraloom.errors import LeakingInput

TELLING: Final[frozenset[Visible]] = frozenset({"shares", "layout", "feedback"})
"""What a writer must not have seen; feedback tells of the mask too."""


def leak_of(saw: Iterable[str] | None, text: str) -> str | None:
    """Why a caption must not be an input of a task that predicts shares or mask, or None.

    Args:
        saw: as in the captions table; None where nobody knows, which counts as a leak.
        text: the caption.
    """
    if saw is None:
        return "nobody recorded what its writer saw"
    seen = [word for word in saw if word in TELLING]
    if seen:
        return f"its writer saw {' and '.join(seen)}"
    return "it holds digits or percentages" if holds_figures(text) else None


def refuse_leaking_input(captions: Iterable[Caption | Mapping[str, Any]], *, task: str) -> None:
    """Make sure that no caption gives away what a task is to predict.

    Args:
        captions: captions, or rows of the captions table with `id`, `text`, `writer` and `saw`;
            read to the end, one at a time.
        task: what the captions are to be an input of, for the message.

    Raises:
        LeakingInput: some do; the message counts them and names the first.
    """
    count = leaking = 0
    first = ""
    for caption in captions:
        if isinstance(caption, Caption):
            row: Mapping[str, Any] = {
                "id": caption.sample_id,
                "text": caption.text,
                "writer": caption.writer,
                "saw": caption.saw,
            }
        else:
            row = caption
        count += 1
        why = leak_of(row["saw"], row["text"])
        if why is not None:
            leaking += 1
            first = first or f"{row['id']}, by {row['writer']}: {why}"
    if leaking:
        raise LeakingInput(
            f"{task} predicts class shares or masks, and {leaking:,} of {count:,} captions give "
            f"them away (the first: {first}). Use them as targets, or take captions whose writer "
            'saw the image alone: mode = "vision" with repair_rounds = 0 and contradicted = '
            '"keep".'
        )
