"""When a busy server asks to come back, and work whose client has gone is awaited to its end."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from pixtral_cli.chat.engine import Chunk, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.server.http.streaming import ClientDisconnected, run_while_connected
from tests.fakes import FakeEngine
from tests.server.processes import until
from tests.server.serving import serving


class Gated(FakeEngine):
    """Answers that took four seconds, once the gate is open."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self.gate = gate

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        yield Chunk("a")
        self.gate.wait(60)
        yield Chunk(finish_reason="stop", usage=Usage(1, 1), timings=Timings(total=4.0))


def test_a_full_queue_says_when_it_will_have_room() -> None:
    gate = threading.Event()
    with serving(Gated(gate), running=2, waiting=4) as running, ThreadPoolExecutor(10) as pool:

        def told() -> str:
            asked = [pool.submit(running.ask) for _ in range(6)]
            until(lambda: running.app.state.queue.pending == 6)
            after = running.ask().headers["Retry-After"]
            gate.set()
            assert all(one.result().status_code == 200 for one in asked)
            gate.clear()
            return after

        assert told() == "1"  # before any answer one is taken to last a second; four wait for two places
        assert told() == "4"  # four seconds each


def test_work_whose_client_has_gone_is_awaited_to_its_end() -> None:
    ended = []

    async def main() -> None:
        gone = asyncio.Event()

        async def receive() -> dict[str, str]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.05)
                ended.append(True)

        asyncio.get_running_loop().call_later(0.02, gone.set)
        with pytest.raises(ClientDisconnected):
            await run_while_connected(receive, asyncio.Event(), work())
        assert ended

    asyncio.run(main())
