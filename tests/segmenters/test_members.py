"""Every architecture: shape, smallest crop, seeded weights, round trip, ways to get weights."""

import re

import pytest
import torch
from safetensors.torch import save_file

from terraloom import families
from terraloom.dataset.rows import TrainRows, ValRows
from terraloom.errors import SettingsError, WeightsUnavailable
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.device import make_fabric
from terraloom.segmenting import Recipe, train_segmenter
from terraloom.testing import tiny_training, toy_rows

MEMBERS = families.members("segmenters")
MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.1, 0.25)


def build(name, preset="small", seed=0, classes=5, **options):
    module = families.member("segmenters", name)
    torch.manual_seed(seed)
    return module.build(module.Settings(**options), preset, classes, MEAN, STD)


def pixels(side, count=2, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_the_six_architectures_of_the_paper_are_there():
    assert {"unet", "unetplusplus", "pan", "deeplabv3plus", "segformer", "fpn"} <= set(MEMBERS)


@pytest.mark.parametrize("name", MEMBERS)
class TestEveryMember:
    def test_logits_have_a_plane_per_class_at_full_size(self, name):
        network = build(name).eval()
        side = network.min_crop_size
        with torch.inference_mode():
            logits = network(pixels(side)[:, :, :, : side - side % 32])
            features = network.features(pixels(side))
        assert logits.shape == (2, 5, side, side)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()
        assert features.ndim == 2
        assert features.shape[0] == 2

    def test_the_smallest_crop_can_be_trained_on(self, name):
        network = build(name).train()
        side = network.min_crop_size
        network(pixels(side)).square().mean().backward()
        gradients = [p.grad for p in network.parameters() if p.requires_grad]
        assert all(torch.isfinite(g).all() for g in gradients if g is not None)
        assert sum(g is not None and bool(g.any()) for g in gradients) > len(gradients) // 2

    def test_weights_repeat_with_the_seed(self, name):
        first, second, other = build(name), build(name), build(name, seed=1)
        states = [n.state_dict() for n in (first, second, other)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])

    def test_saved_weights_predict_the_same(self, name, tmp_path):
        network = build(name).eval()
        save_weights(tmp_path / "w.safetensors", {"segmenter": network})
        again = build(name, seed=7).eval()
        load_weights(tmp_path / "w.safetensors", {"segmenter": again})
        images = pixels(network.min_crop_size)
        with torch.inference_mode():
            assert torch.equal(network(images), again(images))

    def test_an_image_is_labelled_the_same_whatever_shares_its_batch(self, name):
        network = build(name).eval()
        images = pixels(network.min_crop_size, count=3)
        with torch.inference_mode():
            torch.testing.assert_close(
                network(images)[1:2], network(images[1:2]), rtol=1e-3, atol=1e-4
            )

    def test_images_are_standardised_inside(self, name):
        network = build(name).eval()
        assert network.mean.flatten().tolist() == pytest.approx(MEAN)
        assert network.std.flatten().tolist() == pytest.approx(STD)

    def test_an_encoder_file_is_loaded(self, name, tmp_path):
        donor = build(name, seed=5)
        path = tmp_path / "encoder.safetensors"
        save_file({k: v.contiguous() for k, v in donor.network.encoder.state_dict().items()}, path)
        network = build(name, weights=str(path))
        loaded = network.network.encoder.state_dict()
        for key, value in donor.network.encoder.state_dict().items():
            assert torch.equal(loaded[key], value)
        fresh = build(name).network.encoder.state_dict()
        assert not all(torch.equal(fresh[key], loaded[key]) for key in fresh)

    def test_it_tells_its_speed_for_estimates(self, name):
        assert families.member("segmenters", name).TRAINING_RATE > 0


def test_a_crop_too_small_for_an_architecture_is_refused_by_name(tmp_path):
    train, val = toy_rows(3, 2, 64, 64)
    recipe = Recipe("pan", {}, "small", 4, tiny_training(crop_size=64))
    assert isinstance(train, TrainRows)
    assert isinstance(val, ValRows)
    with pytest.raises(SettingsError, match=r"pan needs crops of at least 128 .* is 64"):
        train_segmenter(
            train, val, recipe, tmp_path, seed=0, fabric=make_fabric(1), description="x"
        )


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_pretrained_weights_without_a_network_name_the_ways_out(preset, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    # A cheap encoder in place of the preset's, which would be made before its weights are missed.
    encoder = {"small": "tu-mobilenetv3_small_100", "paper": "efficientnet-b0"}[preset]
    with pytest.raises(WeightsUnavailable) as caught:
        build("unet", preset, encoder=encoder, weights="imagenet")
    message = str(caught.value)
    assert f"'imagenet' weights of {encoder} could not be downloaded" in message
    for way_out in ('weights = "/path/to/encoder.safetensors"', 'weights = "none"', '"small"'):
        assert way_out in message


def test_an_encoder_file_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "missing.safetensors"
    with pytest.raises(WeightsUnavailable, match=f"{re.escape(str(path))} do not exist"):
        build("unet", weights=str(path))


@pytest.mark.parametrize("content", ["other tensors", "garbage"])
def test_an_encoder_file_that_does_not_fit_is_named(content, tmp_path):
    path = tmp_path / "encoder.safetensors"
    if content == "garbage":
        path.write_bytes(b"\x80" * 40)
    else:
        save_file({"other": torch.zeros(3)}, path)
    with pytest.raises(
        WeightsUnavailable, match=r"encoder\.safetensors does not fit the encoder"
    ) as caught:
        build("unet", weights=str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_an_unknown_encoder_is_named():
    with pytest.raises(SettingsError, match="Unet cannot be built with encoder 'resnet-none'"):
        build("unet", encoder="resnet-none")


def test_the_decoder_takes_the_channels_asked_for():
    narrow = build("unet", decoder_channels=(16, 16, 8, 8, 8))
    assert sum(p.numel() for p in narrow.parameters()) < sum(
        p.numel() for p in build("unet").parameters()
    )
    with torch.inference_mode():
        assert narrow.eval()(pixels(32)).shape == (2, 5, 32, 32)
