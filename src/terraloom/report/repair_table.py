"""Table of a model's captions: contradicted before repair, after it, replaced, and never had."""

from collections.abc import Mapping
from typing import Any, Final

from terraloom.report.tables import name, number
from terraloom.report.views import TableView
from terraloom.report.wording import ABSENT, count, percent

REPAIRS: Final = "caption/repairs.json"


def repair_table(repairs: Mapping[str, Mapping[str, Any]]) -> TableView:
    """Three rates, each of all captions that were checked, and what could not be had."""

    def rate(found: Mapping[str, Any], key: str) -> tuple[str, str]:
        share = found[f"{key}_rate"]
        return (ABSENT if share is None else percent(share, 2), count(found[key]))

    rows = [
        (
            name(f"{kind} samples"),
            number(count(found["asked"])),
            number(count(found["failed"]), f"{count(found['filled'])} filled"),
            *(
                number(*rate(found, key))
                for key in ("contradicted_before", "contradicted_after_repair", "replaced")
            ),
            number(count(found["kept_contradicted"])),
        )
        for kind, found in repairs.items()
    ]
    return TableView(
        "A model's captions through the checks",
        (
            "captions of", "asked for", "not to be had",
            "contradicted before repair, %", "contradicted after repair, %", "replaced, %",
            "kept although contradicted",
        ),
        tuple(rows),
        (REPAIRS,),
        (
            "A contradicted caption goes back to its writer with the contradiction; what is still "
            "contradicted gives way to one of the grammar. Only the first of the three rates tells "
            "of the model alone. Captions that could not be had are in caption/errors.",
        ),
    )  # fmt: skip
