"""What a loop would do, as a table."""

from terraloom.demand.options import Costs, DemandOptions
from terraloom.report import tables
from terraloom.report.views import TableView
from terraloom.report.wording import count


def costs_table(costs: Costs, options: DemandOptions) -> TableView:
    """What a loop would train on and how long it would take."""
    lines = (
        ("labellers, generators, real rows in cross-validation", costs.setup, costs.setup_seconds),
        (f"each of at most {options.rounds} rounds", costs.round, costs.round_seconds),
        ("one look at test, outside the budget", costs.look, costs.look_seconds),
    )
    budget = "none" if options.images is None else f"{options.images:,}"
    return TableView(
        "What the loop would do",
        ("", "images trained", "minutes on two cores"),
        tuple(
            (tables.name(told), tables.number(count(images)), tables.number(f"{seconds / 60:.0f}"))
            for told, images, seconds in lines
        ),
        (),
        (f"Samples made in a round: {count(options.samples)}. Budget of images: {budget}.",),
    )
