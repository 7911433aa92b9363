"""The batch route: files of requests, fetched once, found again after any death."""

import json

import pytest
from tests.captioners.model_server import Answer, sentence, serving, well_behaved
from tests.captioners.test_openai import KEY, VARIABLE, writer, written

from terraloom.captioners import _openai_batch
from terraloom.captioners._face import Caption, Failure
from terraloom.errors import RunError, SettingsError


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)
    with serving() as running:
        yield running


def lines_of(server) -> list[dict]:
    return [
        json.loads(line)
        for batch in server.batches.values()
        for line in server.files[batch["input_file_id"]].splitlines()
    ]


def test_both_routes_ask_the_same_and_write_the_same_records(server, tmp_path):
    by_chat = written(writer(server, tmp_path / "chat"), 2)
    chat_bodies = sorted(server.bodies, key=lambda body: body["seed"])
    server.bodies.clear()
    by_batch = written(writer(server, tmp_path / "batch", route="batch"), 2)
    assert by_batch == by_chat
    assert sorted(server.bodies, key=lambda body: body["seed"]) == chat_bodies
    assert len(server.batches) == 1


def test_changing_the_route_asks_for_nothing_again(server, tmp_path):
    by_chat = written(writer(server, tmp_path), 2)
    assert written(writer(server, tmp_path, route="batch"), 2) == by_chat
    assert server.batches == {}


def test_lines_of_the_input_file_are_as_the_api_wants_them(server):
    written(writer(server, route="batch"), 2)
    lines = lines_of(server)
    assert len({line["custom_id"] for line in lines}) == 10
    for line in lines:
        assert line["method"] == "POST"
        assert line["url"] == "/v1/chat/completions"
        assert line["body"]["model"] == "toy"
    assert KEY not in json.dumps(lines)


def test_texts_that_are_no_captions_go_into_a_second_batch(server):
    server.script = lambda body, before: Answer(
        sentence(body) if len(body["messages"]) > 2 else "40 % trees"
    )
    found = written(writer(server, route="batch"), 1)
    assert all(isinstance(c, Caption) for c in found)
    assert len(server.batches) == 2


def test_failed_lines_are_failures(server):
    server.script = lambda body, before: (
        Answer(status=400) if body["seed"] % 2 else well_behaved(body, before)
    )
    found = written(writer(server, route="batch"), 4)
    failed = [c for c in found if isinstance(c, Failure)]
    assert 0 < len(failed) < len(found)
    assert all("HTTP 400" in c.message for c in failed)


@pytest.mark.parametrize("end", ["completed", "expired", "cancelled"])
def test_lines_that_never_came_are_asked_for_by_the_next_run_alone(server, tmp_path, end):
    server.batch_end = end
    written(writer(server, route="batch"), 1)
    lost = {line["custom_id"] for line in lines_of(server)[:2]}
    server.batches.clear()
    server.bodies.clear()
    server.lost = lost
    found = written(writer(server, tmp_path, route="batch"), 1)
    assert sum(isinstance(c, Failure) for c in found) == 2
    server.lost = set()
    server.bodies.clear()
    again = written(writer(server, tmp_path, route="batch"), 1)
    assert all(isinstance(c, Caption) for c in again)
    assert len(server.bodies) == 2


def test_files_keep_to_the_limits_of_the_api(server, monkeypatch):
    monkeypatch.setattr(_openai_batch, "_MAX_REQUESTS", 4)
    written(writer(server, route="batch"), 2)
    counts = [len(server.files[b["input_file_id"]].splitlines()) for b in server.batches.values()]
    assert counts == [4, 4, 2]
    monkeypatch.setattr(_openai_batch, "_MAX_REQUESTS", 50_000)
    monkeypatch.setattr(_openai_batch, "_MAX_BYTES", 20_000)
    server.batches.clear()
    written(writer(server, route="batch", seed=9), 2)
    sizes = [len(server.files[b["input_file_id"]]) for b in server.batches.values()]
    assert len(sizes) > 1
    assert max(sizes) <= 20_000


class Killed(BaseException):
    """Ends a run as a kill would: nothing after it is executed."""


@pytest.mark.parametrize("moment", ["noted", "created", "waiting", "fetching"])
def test_a_run_killed_at_any_moment_asks_for_nothing_twice(server, tmp_path, monkeypatch, moment):
    made = writer(server, tmp_path, route="batch")
    store = made.store
    if moment == "noted":  # made at the server, and dead before it was noted down
        monkeypatch.setattr(store, "note_batch", lambda *a: kill())
    elif moment == "created":
        monkeypatch.setattr(type(made.backend), "_fetched", lambda *a: kill())
    elif moment == "waiting":
        monkeypatch.setattr(type(made.backend), "_waited_for", lambda *a: kill())
    else:
        put, count = store.put, []

        def put_three(*a):
            put(*a)
            count.append(1)
            if len(count) == 3:
                kill()

        monkeypatch.setattr(store, "put", put_three)
    with pytest.raises(Killed):
        written(made, 2)
    monkeypatch.undo()
    monkeypatch.setenv(VARIABLE, KEY)
    found = written(writer(server, tmp_path, route="batch"), 2)
    assert all(isinstance(c, Caption) for c in found)
    assert len(found) == 10
    assert len(server.batches) == 1
    assert set(server.asked.values()) == {1}


def kill():
    raise Killed


@pytest.mark.parametrize("path", ["/files", "/batches", "/batches/batch-0"])
def test_passing_failures_of_the_api_are_tried_again(server, path):
    server.fail_paths[path] = [Answer(status=503), Answer(body=b'{"cut": '), Answer(status=429)]
    found = written(writer(server, route="batch"), 1)
    assert all(isinstance(c, Caption) for c in found)
    assert set(server.asked.values()) == {1}


def test_a_batch_that_is_refused_stops_the_run(server):
    server.batch_end = "failed"
    with pytest.raises(RunError, match="the server refused batch batch-0"):
        written(writer(server, route="batch"), 1)


def test_a_wrong_key_stops_the_run(server):
    server.fail_paths["/batches"] = [Answer(status=401)]
    with pytest.raises(SettingsError, match=VARIABLE):
        written(writer(server, route="batch"), 1)


def test_a_server_that_stays_down_leaves_the_batch_where_it_is(server, tmp_path):
    server.fail_paths["/batches/batch-0"] = [Answer(status=500)] * 4
    with pytest.raises(RunError, match="Batches go on at the server"):
        written(writer(server, tmp_path, route="batch"), 1)
    assert all(isinstance(c, Caption) for c in written(writer(server, tmp_path, route="batch"), 1))
    assert len(server.batches) == 1


def test_torn_lines_and_strange_ids_are_no_captions(server, tmp_path):
    written(writer(server, tmp_path / "a", route="batch"), 1)
    real = server.batch_api

    def torn(method, path, data):
        answer = real(method, path, data)
        if path.endswith("/content"):
            lines = answer.body.splitlines()
            strange = json.loads(lines[1])
            strange["custom_id"] = "somebody-else"
            lines[1] = json.dumps(strange).encode()
            lines[0] = lines[0][: len(lines[0]) // 2]
            lines.append(b"\xff\xfe")
            answer.body = b"\n".join(lines)
        return answer

    server.batch_api = torn
    found = written(writer(server, tmp_path / "b", route="batch", seed=5), 1)
    assert sum(isinstance(c, Failure) for c in found) == 2
