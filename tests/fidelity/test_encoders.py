"""Any image network by name, file or folder; what cannot be had is told with ways out."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from timm.models import save_for_hf

from terraloom.errors import SettingsError, WeightsUnavailable
from terraloom.fidelity.encoders import timm_encoder, weights_sha256

CPU = torch.device("cpu")
IMAGES = list(np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3)).astype(np.uint8))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=5).eval()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("hub") / "net"
    save_for_hf(network, path, safe_serialization=True)
    return path


def test_a_folder_and_a_file_give_the_features_before_the_classifier(network, folder):
    by_folder = timm_encoder(str(folder), "pretrained", CPU)
    by_file = timm_encoder("test_resnet", str(folder / "model.safetensors"), CPU)
    transform = create_transform(**resolve_model_data_config(network) | {"crop_pct": 1.0})
    from PIL import Image

    pixels = torch.stack([transform(Image.fromarray(image)) for image in IMAGES])
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(pixels), pre_logits=True).numpy()
    np.testing.assert_allclose(by_folder.features(IMAGES), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(by_folder.features(IMAGES), by_file.features(IMAGES))
    assert by_folder.name == by_file.name
    assert by_folder.sha256 == by_file.sha256
    assert "test_resnet with model.safetensors" in by_folder.name


def test_images_of_any_size_are_resized_to_the_networks_own(folder):
    encoder = timm_encoder(str(folder), "pretrained", CPU)
    small = [image[:48, :48] for image in IMAGES]
    assert encoder.features(small).shape == encoder.features(IMAGES).shape == (3, 96)
    assert "images resized to 160 × 160" in encoder.name


def test_other_weights_are_another_encoder(network):
    before = weights_sha256(network)
    torch.manual_seed(1)
    assert weights_sha256(timm.create_model("test_resnet", num_classes=5)) != before
    assert weights_sha256(network) == before


def test_weights_that_cannot_be_downloaded_are_told_with_ways_out(monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsUnavailable, match=r"no route .* Ways out: weights = .*safetensors"):
        timm_encoder("vit_small_patch14_dinov2", "pretrained", CPU)


def test_what_is_no_network_or_does_not_fit_is_refused(folder, tmp_path):
    with pytest.raises(SettingsError, match=r"no image network 'inception_v33'.*inception_v3"):
        timm_encoder("inception_v33", "pretrained", CPU)
    with pytest.raises(SettingsError, match=r"holds no config\.json of timm"):
        timm_encoder(str(tmp_path), "pretrained", CPU)
    with pytest.raises(WeightsUnavailable, match=r"it does not exist\. Ways out"):
        timm_encoder("test_resnet", str(tmp_path / "none.safetensors"), CPU)
    with pytest.raises(WeightsUnavailable, match="may hold pickled code"):
        timm_encoder("test_resnet", str(tmp_path / "weights.pth"), CPU)
    with pytest.raises(WeightsUnavailable, match="does not fit the network"):
        timm_encoder("test_vit", str(folder / "model.safetensors"), CPU)
    broken = {"fc.weight": torch.full((5, 96), torch.nan)}
    whole = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file(whole | broken, tmp_path / "nan.safetensors")
    with pytest.raises(WeightsUnavailable, match="no numbers"):
        timm_encoder("test_resnet", str(tmp_path / "nan.safetensors"), CPU)
