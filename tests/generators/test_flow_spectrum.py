"""How tones and patches of data vary, and the linear estimates that follow from it."""

import pytest
import torch
import torch.nn.functional as F

from terraloom.generators._flow_network import VelocityUNet
from terraloom.generators._flow_spectrum import PatchSpectrum, ToneSpectrum, tone_of
from terraloom.generators._layers import label_planes


def smooth(count, size=32, seed=0, grey=0.9):
    """Images "batch 3 size size" of unit variance: soft shapes, grey but for a little colour."""
    random = torch.Generator().manual_seed(seed)
    fields = torch.randn(count, 4, size // 8, size // 8, generator=random)
    fields = F.interpolate(fields, size=(size, size), mode="bilinear")
    images = grey * fields[:, :1] + (1 - grey) * fields[:, 1:]
    images = images + 0.02 * torch.randn(images.shape, generator=random)
    return images / images.std()


def zeros(channels=3, apart=None, patch=2):
    """A network that adds nothing to its linear estimate."""
    torch.manual_seed(0)
    network = VelocityUNet((8, 16), patch, 4, channels, apart=apart).eval()
    with torch.no_grad():
        network.leave.weight.zero_()
        network.leave.bias.zero_()
    return network


def planes(count, size=32):
    return label_planes(torch.full((count, size, size), 255), 3)


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("t", [0.0, 0.3, 0.8, 1.0])
def test_a_network_of_zeros_is_the_least_squares_estimate_of_its_patches(t, patch):
    data, network = smooth(64), zeros(patch=patch)
    tone = network.tone
    tone.learn(data)
    network.spectrum.learn(data - tone_of(data))
    white = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    noise = tone.given_to(white)
    x = t * data + (1 - t) * noise
    with torch.no_grad():
        found = network(x, torch.full((64,), t), planes(64))

    def patches(images):
        apart = F.pixel_unshuffle(images - tone_of(images), patch)
        return apart.movedim(1, 0).flatten(1).double().T

    solved = torch.linalg.lstsq(patches(x), patches(data - noise)).solution
    expected = patches(x) @ solved
    # Data and noise of a sample are not quite uncorrelated, nor is the noise quite white.
    assert (patches(found) - expected).square().mean() < 0.02 * expected.square().mean()
    # Tones of data and noise vary alike.
    factor = (2 * t - 1) / (t**2 + (1 - t) ** 2)
    torch.testing.assert_close(tone_of(found), factor * tone_of(x))


def test_fine_noise_is_taken_away_before_anything_is_learned():
    data, noise = smooth(64), torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    t = torch.full((64,), 0.6)
    x = 0.6 * data + 0.4 * noise

    def fine(images):
        return float((images - F.avg_pool2d(images, 2).repeat_interleave(2, -1)
                      .repeat_interleave(2, -2)).square().mean().sqrt())  # fmt: skip

    def left(network):
        with torch.no_grad():
            return fine(x + 0.4 * network(x, t, planes(64)) - data)

    one_for_all, network = zeros(), zeros()
    network.spectrum.learn(data - tone_of(data))
    assert left(network) < fine(data) < 0.4 * left(one_for_all)


def test_the_spectrum_is_counted_over_the_first_images_and_then_stands():
    spectrum = PatchSpectrum(3, 2)
    for seed in range(8):
        spectrum.learn(smooth(64, seed=seed))
    stands = {name: value.clone() for name, value in spectrum.state_dict().items()}
    together = torch.cat([smooth(64, seed=seed) for seed in range(8)])
    patches = F.pixel_unshuffle(together, 2).movedim(1, 0).flatten(1)
    torch.testing.assert_close(
        spectrum.covariance, patches @ patches.T / patches.shape[1], atol=1e-4, rtol=1e-3
    )
    # The eigenvectors are those of the covariance, and turn there and back.
    some = torch.randn(2, 12, 4, 4)
    torch.testing.assert_close(spectrum.turn_back(spectrum.turn(some)), some)
    torch.testing.assert_close(
        spectrum.basis @ spectrum.variances.diag() @ spectrum.basis.T,
        spectrum.covariance,
        atol=2e-4,
        rtol=1e-3,
    )
    spectrum.learn(torch.randn(64, 3, 32, 32))
    assert all((stands[name] == value).all() for name, value in spectrum.state_dict().items())
    again = PatchSpectrum(3, 2)
    again.load_state_dict(stands)
    assert (again.turn(some) == spectrum.turn(some)).all()


def test_what_never_varies_keeps_a_variance():
    spectrum = PatchSpectrum(3, 2)
    spectrum.learn(torch.zeros(8, 3, 16, 16))
    assert (spectrum.variances > 0).all()


def test_what_two_groups_have_in_common_is_left_out():
    data = torch.cat([smooth(16), smooth(16)[:, :2]], dim=1)
    network = zeros(5, apart=3)
    network.spectrum.learn(data)
    covariance = network.spectrum.covariance
    assert (covariance[:12, 12:] == 0).all()
    assert covariance[:12, :12].abs().min() > 0
    # So an image in the making stays one: nothing leaks into the other's channels.
    image = torch.cat([torch.randn(16, 3, 32, 32), torch.zeros(16, 2, 32, 32)], dim=1)
    with torch.no_grad():
        velocity = network(image, torch.full((16,), 0.4), planes(16))
    torch.testing.assert_close(velocity[:, 3:], torch.zeros(16, 2, 32, 32))


def coloured(count, seed=0):
    """Smooth images of which each has a tone of its own, the three channels much alike."""
    random = torch.Generator().manual_seed(seed)
    tones = (
        torch.randn(count, 1, 1, 1, generator=random) * torch.tensor([1.0, 0.8, 0.5])[:, None, None]
    )
    return 0.3 * smooth(count, seed=seed) + tones


def test_noise_is_given_the_tones_of_images_and_keeps_everything_else():
    data, tone = coloured(512), ToneSpectrum(3)
    tone.learn(data)
    white = torch.randn(2000, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    noise = tone.given_to(white)
    torch.testing.assert_close(
        noise - noise.mean(dim=(2, 3), keepdim=True), white - white.mean(dim=(2, 3), keepdim=True)
    )
    torch.testing.assert_close(
        noise.mean(dim=(2, 3)).T.cov(), data.mean(dim=(2, 3)).T.cov(), atol=0.06, rtol=0.1
    )
    # Evened, they vary alike in all directions; dyed, they are themselves again.
    evened = tone.evened(tone_of(noise))
    torch.testing.assert_close(evened.flatten(1).T.cov(), torch.eye(3), atol=0.1, rtol=0.1)
    torch.testing.assert_close(tone.dyed(evened), tone_of(noise), atol=1e-3, rtol=1e-3)


def test_tones_are_counted_over_the_first_images_and_then_stand():
    tone = ToneSpectrum(3)
    for seed in range(8):
        tone.learn(coloured(64, seed))
    stands = {name: value.clone() for name, value in tone.state_dict().items()}
    tone.learn(torch.ones(64, 3, 8, 8))
    assert all((stands[name] == value).all() for name, value in tone.state_dict().items())


def test_tones_of_two_groups_are_not_drawn_together():
    data = torch.cat([coloured(512), coloured(512)[:, :2]], dim=1)
    tone = ToneSpectrum(5, apart=3)
    tone.learn(data)
    assert (tone.root[:3, 3:] == 0).all()
    image = torch.cat([torch.randn(4, 3, 8, 8), torch.zeros(4, 2, 8, 8)], dim=1)
    torch.testing.assert_close(tone.given_to(image)[:, 3:], torch.zeros(4, 2, 8, 8))
