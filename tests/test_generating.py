"""The plan of samples, their parents, and shards that come again to the same bytes."""

from collections import Counter

import numpy as np
import pytest

from terraloom import generating
from terraloom.classes import ClassTable
from terraloom.dataset.rows import TrainRows, train_rows, val_rows
from terraloom.errors import InputError, RoleError, RunError
from terraloom.files import read_json, read_lines, sha256_of
from terraloom.generating import load_generator, synthesize, train_generator
from terraloom.learning.device import make_fabric
from terraloom.sample_plan import Makes, plan_samples
from terraloom.samples import decode
from terraloom.settings import GenerateSettings
from terraloom.testing import colour_labeller, toy_classes, toy_rows, write_real

BOTH = Makes(frozenset({"conditional", "unconditional"}))
MASKED = Makes(frozenset({"conditional"}))
FLOW = {"images": 8, "batch_size": 4, "widths": (8, 16), "steps": 2, "checks": 2}
SPADE = {"images": 8, "batch_size": 4, "width": 8, "checks": 1}


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(1)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write_real(tmp_path_factory.mktemp("real"))


def settings(**changes):
    return GenerateSettings(size=32, shard_rows=4, **changes)


def planned(generators, rows, wanted, seed=1, **options):
    return plan_samples(generators, rows, wanted, seed, toy_classes(), **options)


def train(real, folder, fabric, name="flow", options=FLOW):
    return train_generator(
        name, options, train_rows(real), val_rows(real), folder,
        classes=toy_classes(), size=32, labeller=colour_labeller(fabric), seed=3, fabric=fabric,
    )  # fmt: skip


@pytest.fixture(scope="module")
def generators(real, fabric, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "flow": train(real, folder / "flow", fabric),
        "spade": train(real, folder / "spade", fabric, "spade", SPADE),
    }


def make(generators, real, folder, **changes):
    return synthesize(
        generators, train_rows(real), folder,
        classes=toy_classes(), settings=settings(**changes), seed=5,
    )  # fmt: skip


@pytest.mark.parametrize("per_row", [0.5, 1.0, 2.4])
def test_the_plan_takes_every_mask_about_equally_often(per_row):
    rows, _ = toy_rows(7, 1)
    orders = planned({"spade": MASKED}, rows, settings(conditional_per_row=per_row))
    assert len(orders) == round(per_row * 7)
    counts = Counter(order.parent for order in orders)
    times = [counts.get(row, 0) for row in range(7)]
    assert max(times) - min(times) <= 1


def test_the_plan_is_in_id_order_with_ids_and_seeds_of_their_own():
    rows, _ = toy_rows(6, 1)
    orders = planned({"spade": MASKED, "flow": BOTH}, rows, settings())
    ids = [order.id for order in orders]
    assert ids == sorted(set(ids))
    assert len({order.seed for order in orders}) == len(orders) == 18
    assert Counter((o.generator, o.origin) for o in orders) == {
        ("flow", "conditional"): 6,
        ("flow", "unconditional"): 6,
        ("spade", "conditional"): 6,
    }


def test_only_conditional_orders_have_a_parent_and_crops_lie_within_it():
    rows, _ = toy_rows(6, 1, 40, 64)
    orders = planned({"flow": BOTH}, rows, settings(conditional_per_row=5))
    for order in orders:
        assert (order.parent is None) == (order.origin == "unconditional")
        assert 0 <= order.top <= 8
        assert 0 <= order.left <= 32
    assert len({(o.top, o.left) for o in orders if o.parent == 0}) > 1


def test_the_plan_follows_its_seed():
    rows, _ = toy_rows(6, 1)
    plans = [planned({"flow": BOTH}, rows, settings(), seed) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_another_generator_does_not_change_the_orders_of_the_first():
    rows, _ = toy_rows(6, 1)
    alone = planned({"flow": BOTH}, rows, settings())
    joined = planned({"flow": BOTH, "spade": MASKED}, rows, settings())
    assert [o for o in joined if o.generator == "flow"] == alone


def test_nothing_asked_for_plans_nothing():
    rows, _ = toy_rows(3, 1)
    none = settings(conditional_per_row=0, unconditional_per_row=0)
    assert planned({"flow": BOTH}, rows, none) == []


def test_samples_carry_the_crop_of_a_train_mask_and_name_it_as_parent(generators, real, tmp_path):
    table = make(generators, real, tmp_path)
    rows = table.read().to_pylist()
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    train_part = {row.id: row for row in train_rows(real).rows}
    for row in rows:
        image, mask = decode(row["image"]), decode(row["mask"])
        assert image.shape == (32, 32, 3)
        assert mask.shape == (32, 32)
        assert row["split"] == ""
        if row["origin"] == "unconditional":
            assert row["parent"] is None
            assert (mask == 255).all()
            continue
        parent = train_part[row["parent"]].mask
        crops = np.lib.stride_tricks.sliding_window_view(parent, (32, 32))
        assert (crops == mask).all(axis=(2, 3)).any()


def test_nothing_asked_for_makes_an_empty_table(generators, real, tmp_path):
    table = make(generators, real, tmp_path, conditional_per_row=0, unconditional_per_row=0)
    assert table.num_rows == 0
    assert "image" in table.read().column_names


def test_shards_that_were_lost_come_again_to_the_same_bytes(generators, real, tmp_path):
    whole = make(generators, real, tmp_path / "whole")
    torn = make(generators, real, tmp_path / "torn")
    assert len(torn.paths) == 6
    (tmp_path / "torn" / "manifest.json").unlink()
    for path in torn.paths[1::2]:
        path.unlink()
    kept = torn.paths[0].stat().st_mtime_ns
    again = make(generators, real, tmp_path / "torn")
    assert torn.paths[0].stat().st_mtime_ns == kept
    assert [sha256_of(p) for p in again.paths] == [sha256_of(p) for p in whole.paths]
    assert again.sha256 == whole.sha256


def test_a_sample_is_the_same_in_a_shard_of_any_size(generators, real, tmp_path):
    large = make(generators, real, tmp_path / "a").read(["id", "image", "seed"]).to_pylist()
    small = synthesize(
        generators, train_rows(real), tmp_path / "b",
        classes=toy_classes(), settings=GenerateSettings(size=32, shard_rows=3), seed=5,
    ).read(["id", "image", "seed"]).to_pylist()  # fmt: skip
    for one, two in zip(large, small, strict=True):
        assert (one["id"], one["seed"]) == (two["id"], two["seed"])
        apart = decode(one["image"]).astype(int) - decode(two["image"])
        assert np.abs(apart).max() <= 1


def test_training_writes_grids_log_and_record_and_is_not_repeated(real, fabric, tmp_path):
    first = train(real, tmp_path, fabric)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "grid-000000004.png", "grid-000000008.png", "log.jsonl", "state.json",
        "weights.safetensors",
    }  # fmt: skip
    state = read_json(tmp_path / "state.json")
    assert state["images"] == 8
    assert [entry["images"] for entry in state["history"]] == [4, 8]
    checks = [row for row in read_lines(tmp_path / "log.jsonl") if "agreement" in row]
    assert all(0 <= row["agreement"] <= 1 and 0 <= row["diversity"] <= 1 for row in checks)
    written = (tmp_path / "state.json").stat().st_mtime_ns
    again = train(real, tmp_path, fabric)
    assert (tmp_path / "state.json").stat().st_mtime_ns == written
    assert again.weights_sha256 == first.weights_sha256
    assert load_generator(tmp_path, fabric).weights_sha256 == first.weights_sha256


class Killed(Exception):
    """Stands for kill -9."""


@pytest.mark.parametrize(("name", "options"), [("flow", FLOW), ("spade", SPADE | {"checks": 2})])
def test_an_interrupted_training_ends_with_the_same_bytes(
    name, options, real, fabric, tmp_path, monkeypatch
):
    options = options | {"images": 16}
    straight = train(real, tmp_path / "straight", fabric, name, options)
    step = generating._GeneratorTrainee.step

    def fatal(self, random, progress):
        if progress >= 0.7:
            raise Killed
        return step(self, random, progress)

    monkeypatch.setattr(generating._GeneratorTrainee, "step", fatal)
    with pytest.raises(Killed):
        train(real, tmp_path / "torn", fabric, name, options)
    monkeypatch.setattr(generating._GeneratorTrainee, "step", step)
    torn = train(real, tmp_path / "torn", fabric, name, options)
    assert torn.weights_sha256 == straight.weights_sha256
    for file in ("state.json", "grid-000000016.png"):
        assert sha256_of(tmp_path / "torn" / file) == sha256_of(tmp_path / "straight" / file)


def test_a_generator_is_fitted_on_train_rows_only(real, fabric, tmp_path):
    with pytest.raises(RoleError, match="TrainRows only"):
        train_generator(
            "flow", FLOW, val_rows(real), val_rows(real), tmp_path / "x",
            classes=toy_classes(), size=32, labeller=colour_labeller(fabric), seed=0, fabric=fabric,
        )  # fmt: skip
    assert not (tmp_path / "x").exists()
    assert isinstance(train_rows(real), TrainRows)


LAYOUT = {"images": 8, "batch_size": 4, "widths": (8, 16), "steps": 2, "checks": 1}
JOINT = FLOW | {"joint": True, "shares": True}


def test_layouts_lend_their_masks_to_what_paints(real, generators, fabric, tmp_path):
    layout = train(real, tmp_path / "layout", fabric, "layout", LAYOUT)
    assert {p.name for p in (tmp_path / "layout").iterdir()} >= {
        "layout-figures.json", "grid-000000008.png", "weights.safetensors",
    }  # fmt: skip
    table = make(
        {"layout": layout, "spade": generators["spade"]}, real, tmp_path / "made",
        conditional_per_row=0, layout_per_row=2, images_per_mask=2,
    ).read().to_pylist()  # fmt: skip
    assert {row["origin"] for row in table} == {"layout"}
    masks = [decode(row["mask"]) for row in table]
    assert all(
        row["parent"] is None and (m < 255).all() for row, m in zip(table, masks, strict=True)
    )
    assert (masks[0] == masks[1]).all()
    assert (masks[1] != masks[2]).any()
    assert table[0]["image"]["bytes"] != table[1]["image"]["bytes"]


def test_pairs_bring_their_own_mask(real, fabric, tmp_path):
    joint = train(real, tmp_path / "joint", fabric, "flow", JOINT)
    history = read_json(tmp_path / "joint" / "state.json")["history"]
    assert all("agreement" in entry for entry in history)
    table = make({"flow": joint}, real, tmp_path / "made", joint_per_row=1).read().to_pylist()
    assert {row["origin"] for row in table} == {"conditional", "joint", "unconditional"}
    table = [row for row in table if row["origin"] == "joint"]
    assert all((decode(row["mask"]) < len(toy_classes())).all() for row in table)
    assert all(row["parent"] is not None for row in table)  # whose shares were asked for


def test_a_student_samples_in_its_teachers_place(real, fabric, tmp_path):
    options = FLOW | {"distil_steps": 1, "distil_pairs": 8, "distil_images": 8}
    trained = train(real, tmp_path, fabric, options=options)
    state = read_json(tmp_path / "state.json")
    assert state["distilled"]["images"] == 8
    assert trained.generator.settings.steps == 1
    names = {path.name for path in tmp_path.iterdir()}
    assert "student" not in names
    assert "student-grid-000000008.png" in names
    again = load_generator(tmp_path, fabric)
    free = [np.full((32, 32), 255, np.uint8)]
    assert (again.images(free, [3])[0] == trained.images(free, [3])[0]).all()


def test_patience_ends_training_and_keeps_the_best_weights(real, fabric, tmp_path, monkeypatch):
    kernels = iter([5.0, 3.0, 4.0, 6.0, 1.0, 1.0])
    figures = generating.ImageWatch.figures

    def told(self, generator):
        return figures(self, generator) | {"kernel": next(kernels)}

    monkeypatch.setattr(generating.ImageWatch, "figures", told)
    options = FLOW | {"images": 24, "checks": 6}
    best = train(real, tmp_path / "models", fabric, options=options | {"patience": 2})
    assert read_json(tmp_path / "models" / "state.json")["images"] == 16
    watch = generating.ImageWatch(
        train_rows(real), val_rows(real), toy_classes(), 32, colour_labeller(fabric), 3
    )
    watch.write_grid(best, tmp_path / "again.png")
    grids = [sha256_of(tmp_path / "models" / f"grid-{i:09d}.png") for i in (8, 16)]
    assert sha256_of(tmp_path / "again.png") == grids[0] != grids[1]


def test_a_diverged_training_says_so_and_keeps_its_checkpoint(real, fabric, tmp_path, monkeypatch):
    step = generating._GeneratorTrainee.step

    def broken(self, random, progress):
        if progress >= 0.5:
            monkeypatch.setattr(
                self.generator, "step", lambda batch, random, progress: {"loss": float("nan")}
            )
        return step(self, random, progress)

    monkeypatch.setattr(generating._GeneratorTrainee, "step", broken)
    with pytest.raises(RunError, match=r"flow diverged after 4 images: loss is nan.*is kept in"):
        train(real, tmp_path, fabric)
    assert list(tmp_path.rglob("*.safetensors"))
    assert not (tmp_path / "state.json").exists()


def test_a_checkpoint_for_other_classes_or_size_is_refused(real, fabric, tmp_path):
    train(real, tmp_path, fabric)
    fewer = ClassTable(classes=toy_classes().classes[:3])
    with pytest.raises(InputError, match="4 classes at 32 pixels; 3 classes at 32 pixels"):
        train_generator(
            "flow", FLOW, train_rows(real), val_rows(real), tmp_path,
            classes=fewer, size=32, labeller=colour_labeller(fabric), seed=3, fabric=fabric,
        )  # fmt: skip


def test_rows_smaller_than_the_samples_are_named(fabric, tmp_path):
    rows, val = toy_rows(4, 2, 40, 40)
    with pytest.raises(InputError, match=r"generate.size is 64 pixels, but .* has 40 × 40"):
        train_generator(
            "flow", FLOW, rows, val, tmp_path,
            classes=toy_classes(), size=64, labeller=colour_labeller(fabric), seed=3, fabric=fabric,
        )  # fmt: skip


def test_no_images_are_an_error_and_three_a_warning(fabric, tmp_path, capsys):
    def fit(rows, val, folder):
        return train_generator(
            "spade", SPADE, rows, val, folder,
            classes=toy_classes(), size=32, labeller=colour_labeller(fabric), seed=3, fabric=fabric,
        )  # fmt: skip

    rows, val = toy_rows(3, 2)
    with pytest.raises(InputError, match="no image to train a generator on"):
        fit(TrainRows([]), val, tmp_path / "none")
    made = fit(rows, val, tmp_path / "three")
    assert "few train images to learn from (3 for spade)" in capsys.readouterr().err.replace(
        "\n", " "
    )
    assert made.images([rows[0].mask[:32, :32]], [1])[0].shape == (32, 32, 3)
