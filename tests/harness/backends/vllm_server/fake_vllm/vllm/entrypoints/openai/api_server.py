"""Stands in for vLLM's server in tests: the same command line, routes and JSON, and no model.

The next token's distribution is drawn from a hash of the token ids before it, so that equal
requests get equal answers and scores agree with samples. $FAKE_VLLM (JSON) makes it misbehave:

    {"crash": "message"}      end with a traceback before serving
    {"never": true}           never become healthy
    {"broken": true}          become healthy, answer completions with 500
    {"taken": FILE}           the first to see FILE removes it and ends as if its port were taken
    {"die_at": N}             end in the middle of the Nth completion
    {"record": FILE}          append what it was started with and asked, one JSON object a line
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MOOD: dict[str, Any] = json.loads(os.environ.get("FAKE_VLLM", "{}"))
LOCK = threading.Lock()
ASKED: list[int] = []


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-model-len", type=int)
    options, _ = parser.parse_known_args()
    folder = Path(sys.argv[sys.argv.index("--generation-config") + 1])
    ends = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    config = json.loads((Path(options.model) / "config.json").read_text(encoding="utf-8"))
    options.max_model_len = options.max_model_len or config["max_position_embeddings"]
    # Like vLLM's engine core, and like something that leaves the group.
    own = subprocess.Popen(["sleep", "600"])
    away = subprocess.Popen(["sleep", "600"], start_new_session=True)
    names = ("VLLM_API_KEY", "CUDA_VISIBLE_DEVICES", "OPENAI_API_KEY", "VLLM_CPU_KVCACHE_SPACE")
    known = {name: os.environ.get(name) for name in names}
    record(
        {
            "argv": sys.argv[1:],
            "environment": known,
            "pid": os.getpid(),
            "children": [own.pid, away.pid],
        }
    )
    if "crash" in MOOD:
        raise RuntimeError(MOOD["crash"])
    if MOOD.get("never"):
        say("still loading")
        time.sleep(600)
    if "taken" in MOOD:
        try:
            os.remove(MOOD["taken"])
        except FileNotFoundError:
            pass
        else:
            raise OSError(98, "Address already in use")
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    options.stops, options.vocabulary = set(ends["eos_token_id"]), config["vocab_size"]
    server.options = options  # type: ignore[attr-defined]
    server.serve_forever()


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def record(entry: dict[str, Any]) -> None:
    if "record" in MOOD:
        with LOCK, open(MOOD["record"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, None)
        elif not self.allowed():
            self.answer(401, {"error": "Unauthorized"})
        elif self.path == "/v1/models":
            options = self.server.options  # type: ignore[attr-defined]
            card = {"id": options.served_model_name, "max_model_len": options.max_model_len}
            self.answer(200, {"object": "list", "data": [card]})
        else:
            self.answer(404, {"error": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            self.answer(401, {"error": "Unauthorized"})
            return
        with LOCK:
            ASKED.append(1)
            number = len(ASKED)
        record({"path": self.path, "body": body})
        if MOOD.get("broken"):
            say("RuntimeError: no kernel for this model")
            self.problem(500, "EngineCore encountered an issue")
        elif number >= MOOD.get("die_at", math.inf):
            say("RuntimeError: the engine is dead")
            os._exit(7)
        elif self.path != "/v1/completions":
            self.answer(404, {"error": "Not Found"})
        else:
            self.complete(body)

    def allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {os.environ['VLLM_API_KEY']}"

    def complete(self, body: dict[str, Any]) -> None:
        server: Any = self.server
        prompt, limit = body["prompt"], server.options.max_model_len
        wanted = body.get("max_tokens", 16)
        if body.get("temperature", 1.0) < 1e-5 and body.get("n", 1) > 1:
            self.problem(400, "n must be 1 when using greedy sampling")
            return
        if len(prompt) + wanted > limit:
            self.problem(400, f"This model's maximum context length is {limit} tokens")
            return
        choices = [
            complete(prompt, body, number, server.options) for number in range(body.get("n", 1))
        ]
        written = sum(len(choice["token_ids"]) for choice in choices)
        usage = {
            "prompt_tokens": len(prompt),
            "completion_tokens": written,
            "total_tokens": len(prompt) + written,
        }
        self.answer(
            200,
            {
                "id": "cmpl-1",
                "object": "text_completion",
                "created": 0,
                "model": body["model"],
                "choices": choices,
                "usage": usage,
            },
        )

    def problem(self, status: int, message: str) -> None:
        self.answer(status, {"error": {"message": message, "type": "x", "code": status}})

    def answer(self, status: int, body: Any) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


def logps(context: list[int], vocabulary: int) -> list[float]:
    """Log-probabilities of the next token."""
    source = random.Random(zlib.crc32(json.dumps(context).encode()))
    logits = [source.gauss(0, 3) for _ in range(vocabulary)]
    top = max(logits)
    total = math.log(math.fsum(math.exp(x - top) for x in logits)) + top
    return [x - total for x in logits]


def complete(prompt: list[int], body: dict[str, Any], number: int, options: Any) -> Any:
    stops, vocabulary = options.stops, options.vocabulary
    draws = random.Random(f"{body.get('seed')} {number} {prompt}")
    temperature = body.get("temperature", 1.0)
    ids: list[int] = []
    tops: list[dict[str, float]] = []
    finish, reason = "length", None
    for _ in range(body.get("max_tokens", 16)):
        known = logps([*prompt, *ids], vocabulary)
        if stops and draws.random() < 0.1 and temperature > 0:
            token = min(stops)
        elif temperature < 1e-5:
            token = max(range(vocabulary), key=known.__getitem__)
        else:
            weights = [math.exp(x / temperature) for x in known]
            token = draws.choices(range(vocabulary), weights)[0]
        order = sorted(range(vocabulary), key=lambda v: -known[v])[: body.get("logprobs") or 0]
        shown = dict.fromkeys([token, *order])
        tops.append({f"token_id:{v}": known[v] for v in shown})
        ids.append(token)
        if token in stops:
            finish, reason = "stop", token
            break
    choice: dict[str, Any] = {
        "index": number,
        "text": " ".join(str(token) for token in ids if token not in stops),
        "finish_reason": finish,
        "stop_reason": reason,
        "token_ids": ids,
        "prompt_token_ids": prompt,
        "logprobs": None,
        "prompt_logprobs": None,
    }
    if body.get("logprobs") is not None:
        names = [f"token_id:{token}" for token in ids]
        choice["logprobs"] = {
            "tokens": names,
            "token_logprobs": [top[name] for top, name in zip(tops, names)],
            "top_logprobs": tops,
            "text_offset": [0] * len(ids),
        }
    if body.get("prompt_logprobs") is not None:
        given: list[Any] = [None]
        for place in range(1, len(prompt)):
            known = logps(prompt[:place], vocabulary)
            token = prompt[place]
            order = sorted(range(vocabulary), key=lambda v: -known[v])
            shown = dict.fromkeys([token, *order[: body["prompt_logprobs"]]])
            given.append(
                {
                    str(v): {"logprob": known[v], "rank": order.index(v) + 1, "decoded_token": ""}
                    for v in shown
                }
            )
        choice["prompt_logprobs"] = given
    return choice


if __name__ == "__main__":
    main()
