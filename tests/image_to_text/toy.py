"""Toy rows with captions that tell what their pixels show, and a captioner that takes a blink."""

import numpy as np

from terraloom.captioners._face import Scene
from terraloom.captioners.template import Settings as TemplateSettings
from terraloom.captioners.template import build
from terraloom.captioning import caption_rows
from terraloom.image_to_text.captioned import captioned_train, captioned_val
from terraloom.samples import decode
from terraloom.settings.caption_benchmark import CaptionBenchmarkSettings
from terraloom.tables import Table, shards_of, write_table
from terraloom.testing import toy_classes, toy_rows


def settings(*arms, **changes):
    """A network of a few hundred numbers, trained on a few images."""
    training = {"images": 16, "batch_size": 4, "image_size": 16, "checks": 2, "learning_rate": 3e-3}
    network = {
        "width": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "patch": 8,
        "vocabulary": 200, "max_words": 30,
    }  # fmt: skip
    training |= changes.pop("training", {})
    network |= changes.pop("network", {})
    return CaptionBenchmarkSettings.model_validate(
        {"arms": arms, "seeds": 2, "draws": 200, "training": training, "network": network} | changes
    )


def told(rows):
    """Captions by the template, by id."""
    writer = build(TemplateSettings(captions_per_image=2), toy_classes(), 5)
    return {
        row.id: tuple(
            caption.text
            for caption in writer.write([Scene(row.id, None, row.mask, None, compass=False)])[0]
        )
        for row in rows.rows
    }


def toy_captioned(train=8, val=4, texts=None):
    """Train and val rows with captions."""
    fitted, held = toy_rows(train, val)
    texts = texts or {**told(fitted), **told(held)}
    return captioned_train(fitted, texts), captioned_val(held, texts)


def caption_table(samples: Table, folder, text_of=None) -> Table:
    """A captions table of a sample table, by the template or by `text_of(id, index)`."""
    writer = build(TemplateSettings(captions_per_image=2), toy_classes(), 5)
    rows = samples.read(["id", "mask"]).to_pylist()

    def write(shard):
        captions = []
        for row in rows[shard.start : shard.stop]:
            scene = Scene(row["id"], None, decode(row["mask"]), None, compass=False)
            own = writer.write([scene])[0]
            if text_of is not None:
                own = [replaced(c, text_of(c.sample_id, c.index)) for c in own]
                own = [c for c in own if c is not None]
            captions.append(own)
        return caption_rows(captions)

    return write_table(
        folder, shards_of(samples), write, settings_sha256="0" * 64, inputs={}, description="toy"
    )


def replaced(caption, text):
    from dataclasses import replace

    return None if text is None else replace(caption, text=text)


def weights_of(model):
    import torch

    return torch.cat([p.detach().flatten() for p in model.network.parameters()])


def an_image(seed=0, side=20):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
