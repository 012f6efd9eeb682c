"""llama.cpp's server as a peer: the request it gets, and which of its numbers count. A stand-in answers in its form."""

import json
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from benchmarks.peers.llama_cpp import LlamaCpp
from benchmarks.scenario import picture

SERVER = f"""#!{sys.executable}
import json, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

heard = Path(__file__).with_name("heard.jsonl")
heard.write_text(json.dumps(sys.argv[1:]) + "\\n")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({{"status": "ok"}})

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with heard.open("a") as file:
            file.write(asked + "\\n")
        time.sleep(0.002)  # what predicted_ms is a part of
        self.reply({{
            "choices": [{{"message": {{"content": "A shape."}}}}],
            "usage": {{"prompt_tokens": 90, "completion_tokens": 4}},
            "timings": {{"prompt_n": 50, "prompt_ms": 2.0, "predicted_n": 4, "predicted_ms": 0.5}},
        }})

    def reply(self, content):
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    program = tmp_path / "llama-server"
    program.write_text(SERVER)
    program.chmod(0o755)
    words = [{"token_bytes": b64encode(word).decode()} for word in (b"a", "é".encode(), "é".encode()[:1])]
    (tmp_path / "tekken.json").write_text(json.dumps({"config": {"default_num_special_tokens": 1000}, "vocab": words}))
    return tmp_path


def test_a_conversation_goes_on_and_decoding_is_what_the_server_counts(programs: Path) -> None:
    program = LlamaCpp(programs, "8bit", 512, 2, programs)
    first = program.ask("What is it?", [picture(64, 0)], 4)
    program.ask("And now?", [], 4)
    assert (program.alone("Alone?", 4), program.close()["memory"] > 0) == (4, True)
    assert (first.tokens, first.prompt_tokens, first.decode) == (4, 90, 0.0005)
    assert first.ttft > 0
    arguments, *asked = map(json.loads, (programs / "heard.jsonl").read_text().splitlines())
    assert arguments[arguments.index("--model") + 1] == str(programs / "8bit.gguf")
    assert arguments[arguments.index("--ctx-size") + 1] == "1024"
    # With its Jinja engine on, the template's name would itself be the template.
    assert arguments.index("--no-jinja") < arguments.index("--chat-template")
    assert [message["role"] for message in asked[1]["messages"]] == ["user", "assistant", "user"]
    assert [part["type"] for part in asked[0]["messages"][0]["content"]] == ["image_url", "text"]
    assert (asked[0]["ignore_eos"], asked[0]["temperature"], asked[0]["max_tokens"]) == (True, 0, 4)
    assert len(asked[2]["messages"]) == 1
    assert asked[0]["logit_bias"] == [[1002, False]], "half a character is no text"


def test_one_that_does_not_start_is_an_error(programs: Path) -> None:
    (programs / "llama-server").write_text(f"#!{sys.executable}\nraise SystemExit(1)\n")
    with pytest.raises(RuntimeError, match="did not start"):
        LlamaCpp(programs, "bf16", 512, 1, programs)
