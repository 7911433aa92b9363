"""What asking a server costs beside the asking: captions per second, ours and the bare package's.

    python benchmarks/asking.py [--samples 400] [--concurrency 32] [--stall 0.0] [--rounds 5]

The server is a process of its own that answers every request after `--stall` seconds with a
sentence. *bare*: the openai package alone, the same requests from as many threads, nothing kept and
nothing checked. *ours*: prompts from masks, requests, judging, every answer committed to disk.
*again*: the same captions from the answers that are there. Rounds alternate; medians are told.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import openai

from terraloom.captioners._face import Scene, shown_to
from terraloom.captioners._model_writer import Request
from terraloom.captioners._openai_client import messages_of
from terraloom.captioners._prompts import Decoding, Prompt
from terraloom.captioners.openai import Settings, build
from terraloom.classes import preset


def serve(stall: float, port: "multiprocessing.Queue[int]") -> None:
    """Answer for ever."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None: ...

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            time.sleep(stall)
            number = "".join(chr(97 + int(digit)) for digit in str(abs(hash(body))))
            message = {"role": "assistant", "content": f"Mostly trees beside {number}."}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            reply = json.dumps(
                {"id": "x", "object": "chat.completion", "created": 0, "model": "m",
                 "choices": [choice]}
            ).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

    class Server(ThreadingHTTPServer):
        request_queue_size = 512
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    port.put(server.server_address[1])
    server.serve_forever()


def scenes(count: int) -> list[Scene]:
    """Images of 128 pixels with masks of large patches."""
    made = []
    for number in range(count):
        random = np.random.default_rng(number)
        labels = np.kron(random.integers(0, 7, (4, 4)), np.ones((32, 32))).astype(np.uint8)
        image = random.integers(0, 255, (128, 128, 3)).astype(np.uint8)
        made.append(Scene(f"s{number:05d}", image, labels, None, True))
    return made


def ask(client: openai.OpenAI, item: tuple[int, Prompt]) -> None:
    """One request, and nothing else."""
    request = Request("", item[1], item[0], Decoding(0.7, 0.9, 120))
    client.chat.completions.create(
        model="m", messages=messages_of(request), seed=request.seed, max_tokens=120
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--stall", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mode", default="language")
    options = parser.parse_args()
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(options.stall, port), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get()}/v1"
    classes = preset("worldcover7")
    given = scenes(options.samples)
    rates: dict[str, list[float]] = {"bare": [], "ours": [], "again": []}
    settings = Settings(model="m", base_url=url, mode=options.mode, concurrency=options.concurrency)
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            writer = build(settings, classes, number)
            writer.keep_in(Path(folder))
            shown = shown_to(writer, given)
            for name in ("ours", "again"):
                start = time.perf_counter()
                written = writer.write(shown)
                captions = sum(len(own) for own in written)
                rates[name].append(captions / (time.perf_counter() - start))
            assert all(hasattr(c, "text") for own in written for c in own)
        bodies = [
            (number, prompt)
            for scene in shown
            for number, prompt in enumerate(writer._prompter.prompts(scene, 5))
        ]
        client = openai.OpenAI(api_key="none", base_url=url, max_retries=0)
        start = time.perf_counter()
        with ThreadPoolExecutor(options.concurrency) as pool:
            list(pool.map(partial(ask, client), bodies))
        rates["bare"].append(len(bodies) / (time.perf_counter() - start))
    server.terminate()
    told = {name: round(statistics.median(found), 1) for name, found in rates.items()}
    ratios = [ours / bare for ours, bare in zip(rates["ours"], rates["bare"], strict=True)]
    json.dump(
        {**vars(options), "captions_per_s": told,
         "ours_over_bare": round(statistics.median(ratios), 3)},
        sys.stdout, indent=1,
    )  # fmt: skip
    print()


if __name__ == "__main__":
    main()
