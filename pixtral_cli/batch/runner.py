"""The run: rows are asked several at a time and answered in their order, one line each. Yields progress; shows nothing."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from itertools import chain

from pixtral_cli import config
from pixtral_cli.batch import results
from pixtral_cli.batch.input import InputRow
from pixtral_cli.batch.journal import Output, ResumeState
from pixtral_cli.batch.results import Result, ResultShape, RowAnswer
from pixtral_cli.batch.row_reader import RowOpener, RowRequest
from pixtral_cli.chat import codeblocks
from pixtral_cli.chat.engine import Chunk, Engine, LoadableEngine, Usage
from pixtral_cli.errors import ContextError, ImageError, PixtralError, UsageError
from pixtral_cli.structured import schema
from pixtral_cli.util.parallel import Cancellation, Cancelled, ProgressRate, map_in_order

ROWS_AHEAD = 2  # rows in memory for each that is asked: those that are done wait here for a slower one before them
MAX_OUTAGES = 5  # in a row: then it is not the rows that fail but the engine
UNKNOWN_SHAPE = ResultShape("openai")  # the shape of a line that has none


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Who is asked, and how rows become questions. `model` is who answers, `settings` the digest of what holds for all."""

    open: RowOpener
    engine: Engine
    model: str
    settings: str = ""
    concurrency: int = 1
    encode: results.Encode = results.encode


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a run is. `row` is the newest; `failure` says why it failed, `model` is the one that it asked for."""

    done: int
    failed: int
    rate: float | None
    left: float | None
    row: int = 0
    failure: str = ""
    model: str = ""


def run_batch(
    plan: BatchPlan,
    rows: Iterable[InputRow],
    output: Output,
    *,
    before: ResumeState | None = None,
    total: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> Generator[BatchProgress, None, None]:
    """Ask the rows and write a line for each, in order. Closing the iterator stops every answer in the making.

    A row that cannot be asked or answered gets a line that says why. When the engine itself fails for several rows in a
    row, its error is raised and they get no line: going on asks them again. `ready` is called once there is a row, and
    the engine to ask.
    """
    tally = _Tally(before or ResumeState(), total)
    yield tally.progress()
    left = iter(rows)
    if (first := next(left, None)) is None:
        return
    if isinstance(plan.engine, LoadableEngine):  # what every row would fail of is reported before any does
        plan.engine.load()
        tally = _Tally(before or ResumeState(), total)  # the pace is that of answering
    ready()
    stop = Cancellation()
    made = map_in_order(
        _Worker(plan, stop), chain([first], left), workers=plan.concurrency, ahead=ROWS_AHEAD * plan.concurrency
    )
    try:
        for result in _without_outages(made):
            output.write(f"{plan.encode(result.line)}\n".encode("utf-8", "replace"))
            yield tally.add(result)
    finally:
        stop.now()
        made.close()


def _without_outages(made: Iterable[Result]) -> Generator[Result, None, None]:
    """The results, an outage among them only once the engine is seen to be there after it, or was before."""
    held: list[Result] = []
    outages: list[PixtralError] = []
    works = False
    for result in made:
        held.append(result)
        if result.outage and result.error:
            outages.append(result.error)
            if len(outages) == MAX_OUTAGES:
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

    plan: BatchPlan
    stop: Cancellation

    def __call__(self, row: InputRow) -> Result:
        named = results.row_key(row, self.plan.settings)
        label, asked = UNKNOWN_SHAPE, False
        try:
            label, request = self.plan.open(row)
            wanted = request()
            asked = True
            answer = self._answer(wanted)
        except (UsageError, ImageError, ContextError, schema.AnswerMismatch) as error:
            return results.failure(row, named, label, error, asked=asked)
        except PixtralError as error:
            return results.failure(row, named, label, error, asked=asked, outage=asked)
        except Cancelled:
            raise
        except Exception as bug:  # of ours: raised, it would end the batch at this row whenever it is run again
            if config.debug():
                raise
            told = PixtralError(f"Internal error: {type(bug).__name__}", "PIXTRAL_DEBUG=1 stops there and shows where")
            return results.failure(row, named, label, told, asked=asked, outage=asked)
        return results.success(row, named, label, answer, wanted.model)

    def _answer(self, wanted: RowRequest) -> RowAnswer:
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
            text = _code_block(text, wanted.extract)
        return RowAnswer(text, self.plan.model, reason, last.usage or Usage(), value)


def _code_block(text: str, language: str) -> str:
    """The answer's code block in that language. Raises Unfit without one."""
    try:
        return codeblocks.pick(text, language).text
    except PixtralError as error:
        raise schema.AnswerMismatch(error.message) from None


class _Tally:
    """Counts and pace as rows come in."""

    def __init__(self, before: ResumeState, total: int | None) -> None:
        self._done, self._failed = before.lines, len(before.failed)
        self._pace = ProgressRate(total, before.lines)

    def add(self, result: Result) -> BatchProgress:
        self._done += 1
        self._failed += result.error is not None
        return self.progress(result)

    def progress(self, result: Result | None = None) -> BatchProgress:
        now = BatchProgress(self._done, self._failed, self._pace.rate(self._done), self._pace.left(self._done))
        if result is None:
            return now
        return replace(now, row=result.row, model=result.model, failure=result.error.message if result.error else "")
