"""What a demand-driven loop is asked for, and what it would cost."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from terraloom import families
from terraloom.errors import InputError
from terraloom.estimates import training_seconds
from terraloom.settings import BenchmarkSettings, Settings, TrainingSettings, member_settings

ARMS: Final = ("real", "real-strong", "real+both", "random-curated-size")
"""Of the one look at test. real+both joins real rows and accepted samples; random-curated-size
joins a random draw of everything that the rounds made, as many."""
_REFERENCE_SIDE: Final = 64


@dataclass(frozen=True)
class DemandOptions:
    """Budget and design of a loop."""

    rounds: int = 2
    """At most."""
    samples: int = 200
    """Made in each round."""
    images: int | None = None
    """That all trainings before the look at test may see; left out, as many as the rounds need."""
    folds: int = 3
    """Of the places of train."""
    seeds: int = 2
    """Networks per fold."""
    weak: int = 3
    """Weak classes that a round asks for, at most."""
    share: float = 0.5
    """Of a weak class in the masks that are asked for, on average."""
    shared: bool = False
    """Whether folds use the labeller and generators of all train rows: much quicker, and the gain
    within train comes out too high, since these have seen the places that are judged."""

    def __post_init__(self) -> None:
        least = {"rounds": 1, "samples": 1, "images": 1, "folds": 2, "seeds": 1, "weak": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise InputError(f"--{name} {value} is too small; at least {bound} is needed.")
        if not 0 < self.share <= 1:
            raise InputError(f"--share {self.share} must lie above 0 and be 1 at most.")

    def locked(self) -> dict[str, Any]:
        """What must stay equal when a loop goes on: all but the budget."""
        values = asdict(self)
        del values["rounds"], values["images"]
        return values


@dataclass(frozen=True)
class Costs:
    """Images that each part of a loop trains on, and seconds on two cores."""

    setup: int
    """Labellers and generators, and cross-validation of the real rows alone."""
    round: int
    """One round's cross-validation."""
    look: int
    """The benchmark's cells at the end, outside the budget."""
    setup_seconds: float
    round_seconds: float
    look_seconds: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def costs_of(settings: Settings, options: DemandOptions, train_rows: int) -> Costs:
    """What a loop costs.

    Args:
        settings: of the project.
        options: of the loop.
        train_rows: real rows that epochs are counted in.
    """
    labeller = settings.segment.training.decided(train_rows)
    benchmark = validation_training(settings, train_rows)
    own = settings.segment.members
    chains = 0 if options.shared else options.folds
    labelling = training_seconds(settings.segment.architecture, labeller)
    generated, generating, sampling = 0, 0.0, 0.0
    scale = (settings.generate.size / _REFERENCE_SIDE) ** 2
    for name in sorted(settings.generators):
        module = families.member("generators", name)
        images = int(getattr(member_settings(settings, "generators", name), "images", 0))
        generated += images
        generating += images / module.TRAINING_RATE * scale
        sampling += options.samples / module.SAMPLING_RATE * scale / len(settings.generators)
    cells = options.folds * options.seeds
    architecture = settings.benchmark.architectures[0]
    cell = training_seconds(architecture, benchmark)
    look = len(ARMS) * settings.benchmark.seeds
    return Costs(
        setup=(own + chains) * labeller.images
        + (1 + chains) * generated
        + cells * benchmark.images,
        round=cells * benchmark.images,
        look=look * len(settings.benchmark.architectures) * benchmark.images,
        setup_seconds=(own + chains) * labelling + (1 + chains) * generating + cells * cell,
        round_seconds=(1 + chains) * sampling + cells * cell,
        look_seconds=look
        * sum(training_seconds(name, benchmark) for name in settings.benchmark.architectures),
    )


def validation_training(settings: Settings, train_rows: int) -> TrainingSettings:
    """The benchmark's recipe, at the images that all train rows decide."""
    return settings.benchmark.training.decided(train_rows)


def look_settings(settings: Settings) -> BenchmarkSettings:
    """The project's benchmark with the arms of the loop and no curves."""
    return settings.benchmark.model_copy(update={"arms": ARMS, "ratios": (), "sizes": ()})
