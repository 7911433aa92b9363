"""A whole captioning with a model: killed and gone on with, failed and tried again."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from terraloom.captioners.openai import Settings, build
from terraloom.captioners.template import Settings as TemplateSettings
from terraloom.captioners.template import build as build_template
from terraloom.captioning import caption_samples
from terraloom.errors import InputError
from terraloom.estimates import estimate_run
from terraloom.files import read_json
from terraloom.pipeline import Pipeline
from terraloom.repairing import Care, claims_check, summarise_repairs
from terraloom.settings import load_settings
from terraloom.tables import Table, plan_shards, write_table
from terraloom.testing import toy_classes, write_real
from tests.captioners.killed_captions import main
from tests.captioners.model_server import Answer, serving, well_behaved

SCRIPT = Path(__file__).parent / "captioners" / "killed_captions.py"
CLASSES = toy_classes().model_dump_json()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Eight samples in two shards."""
    rows = write_real(tmp_path_factory.mktemp("one"), 4, 2, 2).read()
    return write_table(
        tmp_path_factory.mktemp("real"),
        plan_shards(8, 4),
        lambda shard: rows.slice(shard.start, 4),
        settings_sha256="0" * 64,
        inputs={},
        description="t",
    )


def start(samples, out, server, route):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(samples.folder), str(out), server.url, route, CLASSES],
        stderr=subprocess.PIPE,
    )


def finish(process):
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()


@pytest.mark.parametrize("route", ["chat", pytest.param("batch", marks=pytest.mark.slow)])
def test_a_killed_captioning_goes_on_and_ends_with_the_same_captions(
    server, samples, tmp_path, route
):
    main(str(samples.folder), str(tmp_path / "whole"), server.url, route, CLASSES)
    whole = [path.read_bytes() for path in Table.open(tmp_path / "whole" / "real").paths]
    asked_in_all = len(server.asked)
    assert set(server.asked.values()) == {1}
    assert asked_in_all > 40  # eight samples, five captions, and some that went back

    server.asked.clear()
    server.batches.clear()
    server.script = lambda body, before: Answer(well_behaved(body, before).text, stall=0.02)
    killed = 0
    for wanted in (12, 35):
        process = start(samples, tmp_path / "killed", server, route)
        while sum(server.asked.values()) < wanted and process.poll() is None:
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    finish(start(samples, tmp_path / "killed", server, route))
    assert killed >= 1
    assert len(server.asked) == asked_in_all
    # Only what was on its way at a kill can have been asked for twice: four requests each time.
    twice = sum(count - 1 for count in server.asked.values())
    assert twice <= (4 * killed if route == "chat" else 0)
    assert [path.read_bytes() for path in Table.open(tmp_path / "killed" / "real").paths] == whole


OPENERS = ("Here", "In this place", "On this ground", "Seen from above", "Around here", "Overall")


def half_honest(body, before):
    """Reads the facts that it is shown; lies by its seed, and heeds feedback by its seed."""
    shown = next(m["content"] for m in body["messages"] if "Facts:" in m["content"])
    listed = [line[2:] for line in shown.splitlines() if line.startswith("- ") and ":" in line]
    names = [line.split(":")[0] for line in listed if not line.startswith("absent")]
    told = any("this is not right" in m["content"] for m in body["messages"])
    lies = body["seed"] % 2 == 0 if told else body["seed"] % 3 == 0
    main, least = names[0], names[-1]
    opener = OPENERS[body["seed"] % len(OPENERS)]
    if lies:
        return Answer(f"{opener}, {least} covers nearly all of the scene ({_letters(body)}).")
    return Answer(f"{opener}, there is {main} ({_letters(body)}).")


def _letters(body):
    """Makes every caption another one without saying anything."""
    return "".join("bcdfghjklm"[int(digit)] for digit in str(body["seed"]))


def test_planted_lies_are_found_and_told_apart_by_what_became_of_them(server, samples, tmp_path):
    server.script = half_honest
    table = toy_classes()
    captioner = build(
        Settings(model="toy", base_url=server.url, mode="language", captions_per_image=4),
        table, 3,
    )  # fmt: skip
    caption_samples(
        samples, captioner, tmp_path / "real", settings_sha256="0" * 64, description="t",
        care=Care(claims_check(table), 2, build_template(TemplateSettings(), table, 3)),
    )  # fmt: skip
    told = summarise_repairs(Table.open(tmp_path / "repairs" / "real").batches())
    first = [b for b in server.bodies if not any("not right" in str(m) for m in b["messages"])]
    back = [b for b in server.bodies if any("not right" in str(m) for m in b["messages"])]
    planted = sum(b["seed"] % 3 == 0 for b in first)
    assert len(first) == told["asked"] == 32
    assert planted > 5
    assert told["contradicted_before"] == planted
    # Each rewrite that lies goes back once more, or gives way.
    lied_again = sum(b["seed"] % 2 == 0 for b in back)
    assert told["sent_back"] == len(back)
    assert told["repaired"] == len(back) - lied_again
    assert told["contradicted_after_repair"] == planted - told["repaired"] == told["replaced"]
    rows = Table.open(tmp_path / "real").read().to_pylist()
    assert len(rows) == 32
    assert sum(row["writer"] == "template" for row in rows) == told["replaced"]
    assert sum("feedback" in row["saw"] for row in rows) == told["repaired"]
    assert not any("nearly all" in row["text"] for row in rows if row["writer"] == "openai")


def with_model(project: Path, folder: Path, url: str, extra: str = "") -> Path:
    shutil.copytree(project, folder)
    path = folder / "terraloom.toml"
    text = path.read_text(encoding="utf-8")
    assert "[caption]" not in text
    path.write_text(
        text + f'\n[caption]\ncaptioner = "openai"\n{extra}\n[captioners.openai]\nmodel = "toy"\n'
        f'base_url = "{url}"\nmode = "language"\ncaptions_per_image = 2\n'
        "retry = { attempts = 2, first_wait_s = 0.01 }\n",
        encoding="utf-8",
    )
    return folder


def run(folder: Path) -> Pipeline:
    pipeline = Pipeline(load_settings(folder), folder)
    pipeline.run(until="score")
    return pipeline


def test_the_stage_keeps_failures_apart_and_tries_them_again_when_asked(
    server, finished_project, tmp_path
):
    folder = with_model(finished_project, tmp_path / "p", server.url)
    refuse = {}

    def script(body, before):
        # Every fifth caption is refused for good, until the server has learnt better.
        if refuse.setdefault(body["seed"], len(refuse) % 5 == 0):
            return Answer(status=400)
        return well_behaved(body, before)

    server.script = script
    run(folder)
    told = read_json(folder / "caption" / "repairs.json")
    failed = {kind: told[kind]["failed"] for kind in ("real", "synthetic")}
    rewrites = sum(told[kind]["failed_rewrites"] for kind in failed)
    refused = sum(refuse.values())
    assert refused == sum(failed.values()) + rewrites
    assert min(*failed.values(), rewrites) > 0
    for kind, number in failed.items():
        captions = Table.open(folder / "caption" / kind)
        errors = Table.open(folder / "caption" / "errors" / kind).read().to_pylist()
        assert sum(row["stage"] == "caption" for row in errors) == number
        assert captions.num_rows == told[kind]["asked"] - number
    asked = len(server.bodies)

    run(folder)
    assert len(server.bodies) == asked  # the stage is done
    [line] = [
        line for line in estimate_run(Pipeline(load_settings(folder), folder), "caption")
        if line.stage == "caption"
    ]  # fmt: skip
    assert f"{sum(failed.values())} captions could not be had" in line.work

    server.script = well_behaved
    before = set(server.asked)
    assert Pipeline(load_settings(folder), folder).retry_failed() == refused
    run(folder)
    # Those that had failed are asked once more; what is new are rewrites of what came now.
    assert sorted(server.asked.values())[-refused:] == [2] * refused
    assert sum(server.asked.values()) == len(server.asked) + refused
    new = [json.loads(key)[0] for key in set(server.asked) - before]
    assert all("this is not right" in messages[-1]["content"] for messages in new)
    told = read_json(folder / "caption" / "repairs.json")
    for kind in failed:
        assert (told[kind]["failed"], told[kind]["failed_rewrites"]) == (0, 0)

    # Other settings of repair make the stage anew, from the answers that are there.
    text = (folder / "terraloom.toml").read_text(encoding="utf-8")
    (folder / "terraloom.toml").write_text(
        text.replace('captioner = "openai"', 'captioner = "openai"\nrepair_rounds = 0'),
        encoding="utf-8",
    )
    asked = len(server.bodies)
    run(folder)
    assert len(server.bodies) == asked


def test_wrong_settings_of_the_server_are_the_users_input(server, finished_project, tmp_path):
    folder = with_model(finished_project, tmp_path / "p", server.url)
    server.script = lambda body, before: Answer(status=404)
    with pytest.raises(InputError, match="does not know the model"):
        run(folder)
    server.script = well_behaved
    run(folder)
    record = json.loads((folder / "caption" / "stage.json").read_text(encoding="utf-8"))
    assert record["settings"]["captioners"]["openai"]["model"] == "toy"
    rows = pq.read_table(folder / "caption" / "real" / "part-00000.parquet").to_pylist()
    assert {row["writer"] for row in rows} <= {"openai", "template"}
