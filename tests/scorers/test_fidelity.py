"""Every figure stands beside floor and ceilings, by network; planted sets are told apart."""

import numpy as np
import pytest

from terraloom.errors import SettingsError
from terraloom.files import read_json
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.samples import Sample
from terraloom.scorers.fidelity import FidelityScorer, Settings, build
from terraloom.tables import Table
from terraloom.testing import toy_classes, toy_pair, write_real, write_samples


def whole(corpus, folder, synthetic=None, real=None):
    from dataclasses import replace

    made = corpus.whole({}, folder)
    changes = {"synthetic": synthetic, "real": real}
    return replace(made, **{k: v for k, v in changes.items() if v is not None})


def synthetic_of(folder, images):
    """Samples of several origins from images."""
    samples = [
        Sample(f"{origin[0]}-{i:04}", image, np.zeros(image.shape[:2], np.uint8), origin)
        for origin, found in images.items()
        for i, image in enumerate(found)
    ]
    return write_samples(folder, samples, rows_per_shard=25)


@pytest.fixture(scope="module")
def planted(corpus, tmp_path_factory):
    """Copies of train images, and one image over and over with slight noise."""
    folder = tmp_path_factory.mktemp("planted")
    real = write_real(folder / "real", 60, 40, 4, 48, 48)
    random = np.random.default_rng(0)
    one = toy_pair(5, 48, 48)[0]
    images = {
        "conditional": [toy_pair(900 + i, 48, 48)[0] for i in range(40)],
        "unconditional": [
            np.clip(one + random.normal(0, 3, one.shape), 0, 255).astype(np.uint8)
            for _ in range(40)
        ],
    }
    made = synthetic_of(folder / "made", images)
    summary = FidelityScorer(Settings(draws=2), 0).summarise(
        whole(corpus, folder, synthetic=made, real=real)
    )
    return folder, summary


def test_every_figure_stands_beside_floor_and_ceiling_with_counts_and_network(planted):
    folder, summary = planted
    (network,) = summary["networks"]
    assert network["features"] == "labeller's encoder, last stage, pooled"
    assert (network["train"], network["val"], network["num_features"]) == (60, 40, 6)
    for origin, entry in network["origins"].items():
        equal = entry["equal"]
        assert (equal["samples"], equal["draws"], equal["singular"]) == (40, 2, False)
        assert set(equal["rows"]) == {origin, "floor", "shuffled pixels"}
        assert entry["whole"]["counts"] == [60, 40]
    assert read_json(folder / "fidelity.json") == summary


def test_collapse_is_seen_and_more_of_the_same_is_like_the_floor(planted):
    origins = planted[1]["networks"][0]["origins"]
    like, alike = origins["conditional"]["equal"]["rows"], origins["unconditional"]["equal"]["rows"]
    for figure in ("recall", "coverage", "vendi"):
        assert alike["unconditional"][figure]["mean"] < 0.7 * alike["floor"][figure]["mean"]
    for figure in ("precision", "coverage"):
        assert like["conditional"][figure]["mean"] == pytest.approx(
            like["floor"][figure]["mean"], abs=0.25
        )
    pairs = planted[1]["networks"][0]["silhouettes"]["pairwise"]
    assert pairs["train, unconditional"] > pairs["train, conditional"] + 0.1


def test_features_are_made_once_and_no_test_row_is_looked_at(planted, corpus, monkeypatch):
    folder, summary = planted
    tables = [Table.open(path.parent) for path in (folder / "features").glob("*/manifest.json")]
    groups = {name for t in tables for name in t.read(["group"])["group"].to_pylist()}
    assert groups == {"train", "val", "conditional", "unconditional"}
    real, made = Table.open(folder / "real"), Table.open(folder / "made")
    monkeypatch.setattr(type(corpus.labeller), "features", None)  # a call would fail
    again = FidelityScorer(Settings(draws=2), 0).summarise(
        whole(corpus, folder, synthetic=made, real=real)
    )
    assert again == summary


def test_any_network_of_timm_and_another_region_can_be_given(corpus, tmp_path):
    repair_torchvision()
    import timm
    import torch
    from timm.models import save_for_hf

    torch.manual_seed(0)
    save_for_hf(
        timm.create_model("test_resnet", num_classes=3), tmp_path / "net", safe_serialization=True
    )
    other = write_real(tmp_path / "other", 8, 4, 0, 48, 48)
    settings = Settings(
        labeller=False, encoders=[{"model": str(tmp_path / "net")}], draws=1, neighbours=2,
        other_region=other.folder,
    )  # fmt: skip
    (network,) = FidelityScorer(settings, 0).summarise(whole(corpus, tmp_path))["networks"]
    assert network["features"].startswith("test_resnet with model.safetensors, pooled, images resi")
    rows = network["origins"]["conditional"]["equal"]["rows"]
    assert set(rows) == {"conditional", "floor", "shuffled pixels", "other region"}
    assert network["origins"]["conditional"]["equal"]["singular"]


def test_an_origin_of_few_samples_says_so_with_none(corpus, tmp_path):
    origins = FidelityScorer(Settings(draws=1), 0).summarise(whole(corpus, tmp_path))["networks"][
        0
    ]["origins"]
    assert origins["conditional"]["equal"]["samples"] == 6
    assert origins["unconditional"]["samples"] == 4
    assert origins["unconditional"]["equal"] is None


def test_bad_options_are_refused_with_what_to_do(corpus, tmp_path):
    with pytest.raises(SettingsError, match="no network to measure in: set labeller"):
        build(Settings(labeller=False), toy_classes(), 0)
    settings = Settings(other_region=tmp_path / "none")
    with pytest.raises(SettingsError, match=r"other_region = .* build/samples of a project"):
        FidelityScorer(settings, 0).summarise(whole(corpus, tmp_path))
