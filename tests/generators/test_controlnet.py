"""The adapter to diffusers: what is trained, what stays frozen, and models that do not fit."""

import json
import shutil
import sys

import pytest
import torch

from terraloom.errors import BadCheckpoint, SettingsError, WeightsUnavailable
from terraloom.files import read_json
from terraloom.generating import load_generator, train_generator
from terraloom.generators import controlnet
from terraloom.generators._face import DataShape
from terraloom.generators._layers import label_planes, seeded_normal
from terraloom.learning._torchvision_repair import repair_torchvision
from terraloom.learning.batches import draw_batch
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.device import make_fabric
from terraloom.seeds import generator_at
from terraloom.testing import colour_labeller, toy_classes, toy_rows

repair_torchvision()  # before diffusers looks for torchvision
diffusers = pytest.importorskip("diffusers")

SIZE = 32
CLASSES = 4


@pytest.fixture(scope="module")
def rows():
    return toy_rows(6, 2)


@pytest.fixture(scope="module")
def texted(tiny_diffusion, tmp_path_factory):
    return tiny_diffusion.write_model(tmp_path_factory.mktemp("diffusion") / "texted", text=True)


def build(model, seed=0, size=SIZE, **options):
    options = {"steps": 2, "rate": 0.01, "batch_size": 4, "ema": 0.5} | options
    torch.manual_seed(seed)
    return controlnet.build(
        controlnet.Settings(model=str(model), **options),
        DataShape(CLASSES, size, (0.4,) * 3, (0.2,) * 3),
        make_fabric(1),
    )


def train(generator, rows, steps, start=0):
    losses = []
    for step in range(start, start + steps):
        random = generator_at(0, "step", step)
        batch = draw_batch(rows[0], 4, SIZE, "geometry", random)
        losses.append(generator.step(batch, random, 0.5)["loss"])
    return losses


def labels_of(rows, count=2):
    return torch.stack(
        [torch.from_numpy(rows[0][i].mask[:SIZE, :SIZE]) for i in range(count)]
    ).long()


def copy_with(model, tmp_path, part, **changes):
    """A copy of a model with some keys of a part's configuration changed."""
    folder = tmp_path / "changed"
    shutil.copytree(model, folder)
    path = next((folder / part).glob("*config.json"))
    path.write_text(json.dumps(read_json(path) | changes))
    return folder


def test_before_training_the_control_changes_nothing(tiny_diffusion_model, rows):
    generator = build(tiny_diffusion_model, guidance=1)
    labels = labels_of(rows)
    free = torch.full_like(labels, 255)
    assert torch.equal(generator.sample(labels, [1, 2]), generator.sample(free, [1, 2]))
    train(generator, rows, 3)
    assert not torch.equal(generator.sample(labels, [1, 2]), generator.sample(free, [1, 2]))


def test_training_moves_the_control_alone_and_lowers_the_loss(tiny_diffusion_model, rows):
    generator = build(tiny_diffusion_model, seed=3)
    parts = generator.parts
    before = {k: v.clone() for n in (parts.vae, parts.unet) for k, v in n.state_dict().items()}
    losses = train(generator, rows, 40)
    after = {k: v for n in (parts.vae, parts.unet) for k, v in n.state_dict().items()}
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert not any(p.requires_grad for n in (parts.vae, parts.unet) for p in n.parameters())
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_samples_are_those_of_the_librarys_own_pipeline(tiny_diffusion_model, rows, sampler):
    generator = build(tiny_diffusion_model, guidance=1, steps=4, sampler=sampler)
    train(generator, rows, 3)
    labels = labels_of(rows)
    parts = generator.parts
    kinds = {"ddim": "DDIMScheduler", "dpm++": "DPMSolverMultistepScheduler"}
    schedule = {k: v for k, v in parts.schedule.items() if not k.startswith("_")}
    pipeline = diffusers.StableDiffusionControlNetPipeline(
        vae=parts.vae, unet=parts.unet, controlnet=generator.average.network,
        scheduler=getattr(diffusers, kinds[sampler]).from_config(schedule | {"clip_sample": False}),
        text_encoder=None, tokenizer=None, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        prompt_embeds=parts.prompt.expand(2, -1, -1), image=label_planes(labels, CLASSES),
        latents=seeded_normal([1, 2], (4, 16, 16), "start"), num_inference_steps=4,
        guidance_scale=1.0, output_type="pt",
    ).images  # fmt: skip
    torch.testing.assert_close(generator.sample(labels, [1, 2]), made, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_target_is_what_the_models_schedule_predicts(tiny_diffusion, tmp_path, rows, kind):
    model = tiny_diffusion.write_model(tmp_path / kind, prediction_type=kind)
    generator = build(model)
    latents, noise = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([0, 400, 999])
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)[time][:, None, None, None].float()
    expected = {
        "epsilon": noise,
        "sample": latents,
        "v_prediction": kept.sqrt() * noise - (1 - kept).sqrt() * latents,
    }
    torch.testing.assert_close(
        generator._target(latents, noise, time), expected[kind], rtol=1e-4, atol=1e-4
    )
    train(generator, rows, 2)
    assert torch.isfinite(generator.sample(labels_of(rows), [1, 2])).all()


def test_latents_are_encoded_and_decoded_on_the_models_scale(tiny_diffusion_model):
    parts = build(tiny_diffusion_model).parts
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    latents = parts.encode(images, torch.zeros(2, 4, 16, 16))
    found = parts.vae.encode(images * 2 - 1).latent_dist.mean * 0.5
    torch.testing.assert_close(latents, found)
    shown = parts.vae.decode(latents / 0.5).sample
    torch.testing.assert_close(parts.decode(latents), ((shown + 1) / 2).clamp(0, 1))


def test_a_prompt_speaks_with_masks_and_not_with_free_samples(texted, rows):
    plain, told = build(texted), build(texted, prompt="dry fields")
    assert plain.parts.prompt.shape == (1, 12, 16)
    labels = labels_of(rows)
    free = torch.full_like(labels, 255)
    assert not torch.equal(plain.sample(labels, [1, 2]), told.sample(labels, [1, 2]))
    assert torch.equal(plain.sample(free, [1, 2]), told.sample(free, [1, 2]))


def test_frozen_parts_are_held_once_while_they_are_used(tiny_diffusion_model):
    first, second = build(tiny_diffusion_model), build(tiny_diffusion_model)
    assert first.parts is second.parts


def test_a_whole_training_is_resumed_recorded_and_loaded(tiny_diffusion_model, rows, tmp_path):
    options = {"model": str(tiny_diffusion_model), "images": 8, "batch_size": 4, "steps": 2,
               "checks": 1, "rate": 0.01}  # fmt: skip
    fabric = make_fabric(1)
    trained = train_generator(
        "controlnet", options, *rows, tmp_path, classes=toy_classes(), size=SIZE,
        labeller=colour_labeller(fabric), seed=3, fabric=fabric,
    )  # fmt: skip
    assert trained.makes.makings == {"conditional", "unconditional"}
    masks = [rows[0][0].mask[:SIZE, :SIZE]]
    again = load_generator(tmp_path, fabric)
    assert (again.images(masks, [5])[0] == trained.images(masks, [5])[0]).all()
    # What was frozen is not stored a second time.
    assert {path.suffix for path in tmp_path.iterdir()} == {
        ".safetensors",
        ".json",
        ".jsonl",
        ".png",
    }
    assert (tmp_path / "weights.safetensors").stat().st_size < 1_000_000


def test_weights_of_another_frozen_model_are_refused(
    tiny_diffusion, tiny_diffusion_model, tmp_path
):
    save_weights(tmp_path / "w.safetensors", build(tiny_diffusion_model).sampling_modules())
    other = build(tiny_diffusion.write_model(tmp_path / "other", seed=1))
    with pytest.raises(BadCheckpoint, match="trained beside another diffusion model"):
        load_weights(tmp_path / "w.safetensors", other.sampling_modules())


@pytest.mark.parametrize(("planes", "kept"), [(5, True), (3, False)])
def test_it_may_start_from_a_controlnet(tiny_diffusion_model, tmp_path, planes, kept, capsys):
    parts = build(tiny_diffusion_model).parts
    torch.manual_seed(8)
    start = diffusers.ControlNetModel.from_unet(
        parts.unet, conditioning_channels=planes, conditioning_embedding_out_channels=(16, 32)
    )
    start.controlnet_mid_block.weight.data.fill_(0.25)
    start.save_pretrained(tmp_path / "start")
    generator = build(tiny_diffusion_model, controlnet=str(tmp_path / "start"))
    network = generator.network.network
    assert float(network.controlnet_mid_block.weight.detach().min()) == 0.25
    first = network.controlnet_cond_embedding.conv_in.weight
    assert first.shape == (16, 5, 3, 3)
    if kept:
        assert torch.equal(first, start.controlnet_cond_embedding.conv_in.weight)
    assert ("first layer" in capsys.readouterr().err) == (not kept)


def test_a_controlnet_of_another_model_is_refused(tiny_diffusion, tiny_diffusion_model, tmp_path):
    deeper = build(tiny_diffusion.write_model(tmp_path / "deeper", halvings=2))
    diffusers.ControlNetModel.from_unet(
        deeper.parts.unet, conditioning_channels=5,
        conditioning_embedding_out_channels=(16, 32, 96),
    ).save_pretrained(tmp_path / "start")  # fmt: skip
    with pytest.raises(SettingsError, match="makes masks 4 times smaller"):
        build(tiny_diffusion_model, controlnet=str(tmp_path / "start"))
    config = diffusers.UNet2DConditionModel.load_config(tiny_diffusion_model / "unet")
    thicker = diffusers.UNet2DConditionModel.from_config(config | {"layers_per_block": 2})
    diffusers.ControlNetModel.from_unet(thicker).save_pretrained(tmp_path / "thick")
    with pytest.raises(SettingsError, match="its layers_per_block is 2, the UNet's 1"):
        build(tiny_diffusion_model, controlnet=str(tmp_path / "thick"))


@pytest.mark.parametrize(
    ("part", "changes", "why"),
    [
        ("scheduler", {"prediction_type": "flow"}, "schedule predicts 'flow'"),
        ("scheduler", {"prediction_type": "v"}, "schedule predicts 'v'"),
    ],
)
def test_models_of_another_class_are_refused(tiny_diffusion_model, tmp_path, part, changes, why):
    with pytest.raises(SettingsError, match=f"no model of the class of Stable Diffusion.*{why}"):
        build(copy_with(tiny_diffusion_model, tmp_path, part, **changes))


def test_an_inpainting_model_is_refused(tiny_diffusion_model, tmp_path):
    folder = tmp_path / "inpainting"
    shutil.copytree(tiny_diffusion_model, folder)
    unet = diffusers.UNet2DConditionModel.from_config(
        diffusers.UNet2DConditionModel.load_config(folder / "unet") | {"in_channels": 9}
    )
    unet.save_pretrained(folder / "unet")
    with pytest.raises(SettingsError, match=r"reads 9 planes.*inpainting"):
        build(folder)


def test_a_flow_matching_schedule_is_refused(tiny_diffusion_model, tmp_path):
    folder = tmp_path / "matching"
    shutil.copytree(tiny_diffusion_model, folder)
    diffusers.FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    with pytest.raises(SettingsError, match=r"FlowMatchEulerDiscreteScheduler\) is none of noise"):
        build(folder)


def test_sizes_that_cannot_be_halved_are_refused(tiny_diffusion, tmp_path):
    model = tiny_diffusion.write_model(tmp_path / "deep", halvings=3)
    with pytest.raises(SettingsError, match=r"is 40 pixels.*a multiple of 16, such as 48"):
        build(model, size=40)


def test_a_prompt_without_a_text_encoder_is_refused(tiny_diffusion_model):
    with pytest.raises(SettingsError, match="has no text encoder"):
        build(tiny_diffusion_model, prompt="fields")


def test_pickled_weights_are_not_loaded(tiny_diffusion_model, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_diffusion_model, folder)
    (weights,) = (folder / "unet").glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(WeightsUnavailable, match=r"unet has no safetensors.*may be a pickle"):
        build(folder)


def test_weights_that_are_not_there_are_told(monkeypatch, tmp_path):
    with pytest.raises(WeightsUnavailable, match="which is not there"):
        build(tmp_path / "none")
    (tmp_path / "one.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsUnavailable, match="a folder in diffusers' layout is wanted"):
        build(tmp_path / "one.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable, match=r"could not be loaded.*Ways out: fetch it"):
        build("terraloom-tests/no-such-model")


def test_weights_that_are_damaged_or_not_whole_are_told(tiny_diffusion_model, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "torn"
    shutil.copytree(tiny_diffusion_model, folder)
    (weights,) = (folder / "unet").glob("*.safetensors")
    tensors = load_file(weights)
    lost = sorted(tensors)[0]
    save_file({k: v for k, v in tensors.items() if k != lost}, weights)
    with pytest.raises(BadCheckpoint, match=rf"unet.* lack 1 tensors, such as {lost}"):
        build(folder)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadCheckpoint, match=r"torn.*damaged or cut short"):
        build(folder)


def test_without_the_library_the_message_says_what_to_install(monkeypatch, tiny_diffusion_model):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(SettingsError, match=r'pip install "terraloom\[diffusers\]"'):
        build(tiny_diffusion_model)
