"""A captioning that a test kills: python killed_captions.py SAMPLES OUT URL ROUTE CLASSES.

It imports no torch, so that it starts in a moment.
"""

import sys
from pathlib import Path

from terraloom.captioners.openai import Settings, build
from terraloom.captioners.template import Settings as TemplateSettings
from terraloom.captioners.template import build as build_template
from terraloom.captioning import caption_samples
from terraloom.classes import ClassTable
from terraloom.repairing import Care
from terraloom.retrying import RetrySettings
from terraloom.seeds import derive_seed
from terraloom.tables import Table


def doubtful(text, scene):
    """Contradicts about a third of all captions, by their text alone."""
    return "- not so" if derive_seed(0, text) % 3 == 0 else None


def main(samples: str, out: str, url: str, route: str, classes: str) -> None:
    table = ClassTable.model_validate_json(classes)
    captioner = build(
        Settings(
            model="toy", base_url=url, route=route, concurrency=4, poll_s=0.05,
            retry=RetrySettings(first_wait_s=0.01),
        ),
        table, 3,
    )  # fmt: skip
    captioner.keep_in(Path(out) / "answers")
    caption_samples(
        Table.open(Path(samples)), captioner, Path(out) / "real", settings_sha256="0" * 64,
        description="captioning",
        care=Care(doubtful, 2, build_template(TemplateSettings(), table, 3)),
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
