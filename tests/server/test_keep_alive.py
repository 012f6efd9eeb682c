"""`pixtral ask --keep-alive` in a shell's loop: the weights are loaded once, by one process that can be listed and stopped."""

import json
import re
from pathlib import Path

from pixtral_cli.cli.common import completers
from pixtral_cli.models.names import demo_folder
from tests.server.processes import gone, pixtral, until
from tests.server.test_serve import draw


def test_a_loop_of_questions_over_pictures_loads_the_weights_once(tmp_path: Path) -> None:
    picture = str(draw(tmp_path / "x.png"))
    command = ("ask", "What is in the image?", "--image", picture, "-m", "demo", "--no-stdin", "--no-log")
    try:
        first = pixtral(*command, "--keep-alive", "5m")
        listed = pixtral("ps").stdout
        found = re.search(r"^demo +(\d+)", listed, re.MULTILINE)
        assert found, first
        for _ in range(4):
            again = pixtral(*command, "--format", "json")  # one that is there is used without asking for it
            assert json.loads(again.stdout)["answer"] == first.stdout.strip()
            assert again.stderr == ""
        assert found[1] in pixtral("ps").stdout
        assert listed.count("\n") == 2
        assert all(head in listed.splitlines()[0] for head in ("NAME", "DEVICE", "MEMORY"))
        assert completers.resident_models() == [("demo", "")]
    finally:
        stopped = pixtral("stop", str(demo_folder()))  # any name that -m takes
    assert stopped.stderr == "Stopped demo.\n"
    until(lambda: gone(int(found[1])))


def test_the_last_duration_holds_and_0_ends_the_process() -> None:
    command = ("ask", "Hello", "-m", "demo", "--no-stdin", "--no-log", "-q")
    try:
        pixtral(*command, "--keep-alive", "1h")
        (kept,) = json.loads(pixtral("ps", "--json").stdout)["processes"]
        assert 3_000 < kept["expires_in"] <= 3_600
        assert kept["device"].partition(":")[0] in ("cpu", "cuda", "mps")  # not "auto": the one that it is on
        pixtral(*command, "--keep-alive", "5m")
        (kept,) = json.loads(pixtral("ps", "--json").stdout)["processes"]
        assert kept["expires_in"] <= 300
        pixtral(*command)  # without the flag it stays as it was
        (kept,) = json.loads(pixtral("ps", "--json").stdout)["processes"]
        assert 200 < kept["expires_in"] <= 300
        done = pixtral(*command, "--keep-alive", "0")
        assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr
        until(lambda: gone(kept["process"]))
        assert json.loads(pixtral("ps", "--json").stdout) == {"processes": []}
        assert pixtral(*command, "--keep-alive", "0").returncode == 0
        assert json.loads(pixtral("ps", "--json").stdout) == {"processes": []}  # nor is one started
    finally:
        pixtral("stop")
