"""A corpus of real and synthetic samples with captions and label figures."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from terraloom.captioners import template
from terraloom.captioning import caption_samples
from terraloom.claiming import claim_captions
from terraloom.ensemble import Ensemble
from terraloom.labelling import label_samples
from terraloom.learning.device import make_fabric
from terraloom.scorers._face import Corpus, Part
from terraloom.settings import LabelSettings
from terraloom.testing import colour_labeller, toy_classes, write_real, write_synthetic


def write_tiny_clip(folder):
    """A CLIP of a few thousand random weights, as a user's folder would hold it."""
    path = Path(__file__).parents[1] / "imagetext" / "tiny_clip.py"
    spec = importlib.util.spec_from_file_location("tiny_clip", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_transformers(folder)


@pytest.fixture(scope="package")
def corpus(tmp_path_factory):
    """Corpus without scores, and a Part per kind and shard."""
    folder, classes, fabric = tmp_path_factory.mktemp("corpus"), toy_classes(), make_fabric(1)
    labeller = colour_labeller(fabric)
    real = write_real(folder / "real", 12, 8, 4, 48, 48)
    ids = real.read(["id"])["id"].to_pylist()[:12]
    made = write_synthetic(folder / "made", ids)
    samples, labels = label_samples(
        made, Ensemble((labeller,)), folder / "label", classes=classes, settings=LabelSettings(),
        labeller_sha256="0" * 64,
    )  # fmt: skip
    writer = template.build(template.Settings(captions_per_image=3), classes, 0)
    captions = {
        kind: caption_samples(
            table,
            writer,
            folder / f"{kind}-captions",
            settings_sha256="0" * 64,
            description="captions",
        )
        for kind, table in (("real", real), ("synthetic", samples))
    }
    claims = {
        kind: claim_captions(
            table, captions[kind], classes, folder / f"{kind}-claims", description="claims"
        )
        for kind, table in (("real", real), ("synthetic", samples))
    }

    def part(kind, index):
        table = {"real": real, "synthetic": samples}[kind]
        name = table.paths[index].name
        return Part(
            table.folder / name,
            captions[kind].folder / name,
            labels.folder / name if kind == "synthetic" else None,
            classes,
            real,
            lambda: labeller,
            folder / "kept",
            captions["real"],
            claims[kind].folder / name,
        )

    def whole(scores, where):
        return Corpus(
            real,
            samples,
            captions,
            claims,
            labels,
            scores,
            classes,
            lambda: labeller,
            where,
            seed=1,
        )

    return SimpleNamespace(
        real=real, synthetic=samples, labels=labels, captions=captions, classes=classes,
        labeller=labeller, part=part, whole=whole,
        options={"clipscore": {"weights": str(write_tiny_clip(folder / "clip"))}},
    )  # fmt: skip
