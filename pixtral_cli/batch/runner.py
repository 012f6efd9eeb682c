"""The run: rows are asked several at a time and answered in their order, one line each. Yields progress; shows nothing."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from itertools import chain

from pixtral_cli import config
from pixtral_cli.batch import results
from pixtral_cli.batch.input import Row
from pixtral_cli.batch.journal import Before, Output
from pixtral_cli.batch.results import Answer, Label, Result
from pixtral_cli.batch.row_reader import Open, Request
from pixtral_cli.chat import codeblocks
from pixtral_cli.chat.engine import Chunk, Engine, LoadableEngine, Usage
from pixtral_cli.errors import ContextError, ImageError, PixtralError, UsageError
from pixtral_cli.structured import schema
from pixtral_cli.util.parallel import Cancellation, Cancelled, ProgressRate, map_in_order

AHEAD = 2  # rows in memory for each that is asked: those that are done wait here for a slower one before them
OUTAGES = 5  # in a row: then it is not the rows that fail but the engine
UNKNOWN = Label("openai")  # the shape of a line that has none


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is asked, and how rows become questions. `model` is who answers, `settings` the digest of what holds for all."""

    open: Open
    engine: Engine
    model: str
    settings: str = ""
    concurrency: int = 1
    encode: results.Encode = results.encode


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. `row` is the newest; `failure` says why it failed, `model` is the one that it asked for."""

    done: int
    failed: int
    rate: float | None
    left: float | None
    row: int = 0
    failure: str = ""
    model: str = ""


def run(
    plan: Plan,
    rows: Iterable[Row],
    output: Output,
    *,
    before: Before | None = None,
    total: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> Generator[Progress, None, None]:
    """Ask the rows and write a line for each, in order. Closing the iterator stops every answer in the making.

    A row that cannot be asked or answered gets a line that says why. When the engine itself fails for several rows in a
    row, its error is raised and they get no line: going on asks them again. `ready` is called once there is a row, and
    the engine to ask.
    """
    tally = _Tally(before or Before(), total)
    yield tally.progress()
    left = iter(rows)
    if (first := next(left, None)) is None:
        return
    if isinstance(plan.engine, LoadableEngine):  # what every row would fail of is reported before any does
        plan.engine.load()
        tally = _Tally(before or Before(), total)  # the pace is that of answering
    ready()
    stop = Cancellation()
    made = map_in_order(
        _Worker(plan, stop), chain([first], left), workers=plan.concurrency, ahead=AHEAD * plan.concurrency
    )
    try:
        for result in _settled(made):
            output.write(f"{plan.encode(result.line)}\n".encode("utf-8", "replace"))
            yield tally.add(result)
    finally:
        stop.now()
        made.close()


def _settled(made: Iterable[Result]) -> Generator[Result, None, None]:
    """The results, an outage among them only once the engine is seen to be there after it, or was before."""
    held: list[Result] = []
    outages: list[PixtralError] = []
    works = False
    for result in made:
        held.append(result)
        if result.outage and result.error:
            outages.append(result.error)
            if len(outages) == OUTAGES:
                raise result.error
        elif result.asked or not outages:  # a row that was not asked says nothing of the engine
            works = works or result.asked
            yield from held
            held, outages = [], []
    if outages and not works:
        raise outages[-1]
    yield from held


@dataclass(frozen=True, slots=True)
class _Worker:
    """A row to its result, in a thread of its own."""

    plan: Plan
    stop: Cancellation

    def __call__(self, row: Row) -> Result:
        named = results.key(row, self.plan.settings)
        label, asked = UNKNOWN, False
        try:
            label, request = self.plan.open(row)
            wanted = request()
            asked = True
            answer = self._answer(wanted)
        except (UsageError, ImageError, ContextError, schema.AnswerMismatch) as error:
            return results.failed(row, named, label, error, asked=asked)
        except PixtralError as error:
            return results.failed(row, named, label, error, asked=asked, outage=asked)
        except Cancelled:
            raise
        except Exception as bug:  # of ours: raised, it would end the batch at this row whenever it is run again
            if config.debug():
                raise
            told = PixtralError(f"Internal error: {type(bug).__name__}", "PIXTRAL_DEBUG=1 stops there and shows where")
            return results.failed(row, named, label, told, asked=asked, outage=asked)
        return results.answered(row, named, label, answer, wanted.model)

    def _answer(self, wanted: Request) -> Answer:
        pieces: list[str] = []
        last = Chunk()
        with self.stop.watching(self.plan.engine.stream(wanted.messages, wanted.sampling)) as stream:
            for last in stream:
                pieces.append(last.text)
                self.stop.check()
        self.stop.check()  # an answer that was cut short is none
        text, reason = "".join(pieces), last.finish_reason or "stop"
        value = None
        if wanted.sampling.schema is not None:
            value = schema.validate(text, wanted.sampling.schema, cut=reason == "length")
        elif wanted.extract:
            text = _block(text, wanted.extract)
        return Answer(text, self.plan.model, reason, last.usage or Usage(), value)


def _block(text: str, language: str) -> str:
    """The answer's code block in that language. Raises Unfit without one."""
    try:
        return codeblocks.pick(text, language).text
    except PixtralError as error:
        raise schema.AnswerMismatch(error.message) from None


class _Tally:
    """Counts and pace as rows come in."""

    def __init__(self, before: Before, total: int | None) -> None:
        self._done, self._failed = before.lines, len(before.failed)
        self._pace = ProgressRate(total, before.lines)

    def add(self, result: Result) -> Progress:
        self._done += 1
        self._failed += result.error is not None
        return self.progress(result)

    def progress(self, result: Result | None = None) -> Progress:
        now = Progress(self._done, self._failed, self._pace.rate(self._done), self._pace.left(self._done))
        if result is None:
            return now
        return replace(now, row=result.row, model=result.model, failure=result.error.message if result.error else "")
