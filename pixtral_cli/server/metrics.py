"""The server's metrics in Prometheus' text format."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pixtral_cli.chat.engine import Chunk

COUNTERS = {
    "requests_total": "Requests to /v1/chat/completions by status.",
    "disconnects_total": "Answers stopped because the client left.",
    "stream_errors_total": "Streams that ended in an error after they had begun.",
    "engine_deaths_total": "Times the engine's process died and was started anew.",
    "prompt_tokens_total": "Prompt tokens, image tokens and reused ones included.",
    "image_tokens_total": "Image tokens of the prompts.",
    "cached_tokens_total": "Prompt tokens that were not computed again.",
    "completion_tokens_total": "Tokens of answers.",
    "ttft_seconds_sum": "Time to first token, summed.",
    "decode_seconds_sum": "Time from the first token to the last, summed.",
    "answers_total": "Answers that were finished.",
    "answer_seconds_sum": "Time from the call to the last token, summed.",
}
GAUGES = {
    "engine_up": "1 when the engine answers.",
    "requests_running": "Answers being computed.",
    "requests_waiting": "Requests waiting for their turn.",
}
REPLICA_METRICS = {  # by the field of a replica's status
    "up": ("replica_up", "gauge", "1 when the replica answers."),
    "running": ("replica_requests_running", "gauge", "Answers that the replica computes."),
    "answers": ("replica_answers_total", "counter", "Answers that the replica has finished."),
    "restarts": ("replica_restarts_total", "counter", "Times the replica was lost and started anew."),
}
CACHES = {
    "cache_bytes": "Bytes that a cache beside the model holds.",
    "cache_limit_bytes": "Bytes that a cache beside the model may hold.",
}


class Metrics:
    """The counters of one server. Gauges are given when the text is made."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()

    def count_reply(self, status: int) -> None:
        """Count a reply by its HTTP status."""
        self._statuses[status] += 1

    def client_disconnected(self) -> None:
        """Count an answer that was stopped because its client disconnected."""
        self._counts["disconnects_total"] += 1

    def stream_failed(self) -> None:
        """Count a stream that ended in an error."""
        self._counts["stream_errors_total"] += 1

    def count_answer(self, last: Chunk) -> None:
        """Add up the usage and timings of a finished answer."""
        self._counts["answers_total"] += 1
        if usage := last.usage:
            self._counts["prompt_tokens_total"] += usage.prompt_tokens
            self._counts["image_tokens_total"] += usage.image_tokens
            self._counts["cached_tokens_total"] += usage.cached_tokens
            self._counts["completion_tokens_total"] += usage.completion_tokens
        if timings := last.timings:
            self._add("ttft_seconds_sum", timings.ttft)
            self._add("decode_seconds_sum", timings.decode)
            self._add("answer_seconds_sum", timings.total)

    def _add(self, name: str, seconds: float) -> None:
        self._counts[name] += seconds  # type: ignore[assignment]  # a Counter counts fractions as well

    @property
    def mean_answer(self) -> float:
        """The mean duration of an answer in seconds; 1 before the first."""
        answers = self._counts["answers_total"]
        return self._counts["answer_seconds_sum"] / answers if answers else 1.0

    def text(
        self, *, up: bool, deaths: int, running: int, waiting: int, replicas: Sequence[Mapping[str, Any]] = (),
        caches: Mapping[str, Sequence[int]] | None = None,
    ) -> str:  # fmt: skip
        """The metrics in the text exposition format 0.0.4. `caches`: size and limit of each cache in bytes."""
        self._counts["engine_deaths_total"] = deaths
        gauges = {"engine_up": int(up), "requests_running": running, "requests_waiting": waiting}
        return "\n".join([*self._lines(gauges, caches or {}), *_replica_lines(replicas), ""])

    def _lines(self, gauges: dict[str, int], caches: Mapping[str, Sequence[int]]) -> Iterator[str]:
        for name, help_text in COUNTERS.items():
            yield f"# HELP pixtral_{name} {help_text}"
            yield f"# TYPE pixtral_{name} counter"
            if name == "requests_total":
                yield from (f'pixtral_{name}{{status="{status}"}} {n}' for status, n in sorted(self._statuses.items()))
            else:
                yield f"pixtral_{name} {self._counts[name]:g}"
        for name, help_text in GAUGES.items():
            yield f"# HELP pixtral_{name} {help_text}"
            yield f"# TYPE pixtral_{name} gauge"
            yield f"pixtral_{name} {gauges[name]}"
        for place, (name, help_text) in enumerate(CACHES.items()):
            yield f"# HELP pixtral_{name} {help_text}"
            yield f"# TYPE pixtral_{name} gauge"
            yield from (f'pixtral_{name}{{cache="{cache}"}} {sizes[place]}' for cache, sizes in sorted(caches.items()))


def _replica_lines(replicas: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for field, (name, kind, help_text) in REPLICA_METRICS.items() if replicas else ():
        yield f"# HELP pixtral_{name} {help_text}"
        yield f"# TYPE pixtral_{name} {kind}"
        for replica in replicas:
            ranks = " ".join(map(str, replica["ranks"]))
            yield f'pixtral_{name}{{replica="{replica["replica"]}",ranks="{ranks}"}} {int(replica[field])}'
