"""Runs a batch: several rows are answered at a time, their lines are written in order. Yields progress."""

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
from pixtral_cli.chat.engine import Engine, LoadableEngine, Usage
from pixtral_cli.chat.whole_answer import whole_answers
from pixtral_cli.errors import ContextError, ImageError, PixtralError, UsageError
from pixtral_cli.structured import schema
from pixtral_cli.util.parallel import Cancellation, Cancelled, ProgressRate, map_in_order

ROWS_AHEAD = 2  # rows in memory for each worker: finished rows wait for slower ones before them
MAX_OUTAGES = 5  # consecutive failures of the engine after which the batch ends
UNKNOWN_SHAPE = ResultShape("openai")  # for a line that cannot be read, where the format of the others is not known


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The engine, and how rows are parsed.

    `model`: the name of the model; `settings`: the digest of the settings all rows share.
    """

    open: RowOpener
    engine: Engine
    model: str
    settings: str = ""
    concurrency: int = 1
    encode: results.Encode = results.encode
    unreadable: ResultShape = UNKNOWN_SHAPE  # the shape for lines that cannot be read
    structured: bool = False  # whether every answer must match a schema


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """The state of a run.

    `rate`: rows a second; `left`: seconds, None while unknown; `row`: the name of the newest row. `failure`: why the
    newest row failed, or ""; `model`: the model it names.
    """

    done: int
    failed: int
    rate: float | None
    left: float | None
    row: str = ""
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
    """Answer the rows and write a line for each, in order. Closing the iterator cancels all answers.

    A row that fails gets a line with the error. When the engine fails for `MAX_OUTAGES` consecutive rows, its error is
    raised and they get no line: resuming asks them again. `before`: the state of the run that is resumed; `ready` is
    called when there is a row and the engine has loaded.
    """
    progress = _Progress(before or ResumeState(), total)
    yield progress.state()
    remaining = iter(rows)
    if (first := next(remaining, None)) is None:
        return
    if isinstance(plan.engine, LoadableEngine):  # an error that every row would meet is raised before the first
        plan.engine.load()
        progress = _Progress(before or ResumeState(), total)  # the rate is measured without the loading
    ready()
    stop = Cancellation()
    answered = map_in_order(
        _Worker(plan, stop),
        chain([first], remaining),
        workers=plan.concurrency,
        max_pending=ROWS_AHEAD * plan.concurrency,
    )
    try:
        for result in _without_outages(answered):
            output.write(f"{plan.encode(result.line)}\n".encode("utf-8", "replace"))
            yield progress.add(result)
    finally:
        stop.cancel()
        answered.close()


def _without_outages(results: Iterable[Result]) -> Generator[Result, None, None]:
    """The results in order; outages are held back until a later row shows that the engine works.

    Raises the engine's error.
    """
    pending: list[Result] = []
    outages: list[PixtralError] = []
    engine_works = False
    for result in results:
        pending.append(result)
        if result.outage and result.error:
            outages.append(result.error)
            if len(outages) == MAX_OUTAGES:
                raise result.error
        elif result.asked or not outages:  # a row that did not reach the engine does not show whether it works
            engine_works = engine_works or result.asked
            yield from pending
            pending, outages = [], []
    if outages and not engine_works:
        raise outages[-1]
    yield from pending


@dataclass(frozen=True, slots=True)
class _Worker:
    """Turns a row into its result, on a worker thread."""

    plan: BatchPlan
    stop: Cancellation

    def __call__(self, row: InputRow) -> Result:
        key = results.row_key(row, self.plan.settings)
        shape, asked, structured = self.plan.unreadable, False, self.plan.structured
        try:
            shape, build = self.plan.open(row)
            request = build()
            asked, structured = True, request.sampling.schema is not None
            answer = self._answer(request)
        except (UsageError, ImageError, ContextError, schema.AnswerMismatch) as error:
            return results.failure(row, key, shape, error, asked=asked, structured=structured)
        except PixtralError as error:
            return results.failure(row, key, shape, error, asked=asked, outage=asked, structured=structured)
        except Cancelled:
            raise
        except Exception as bug:  # raised, it would end the batch at the same row whenever it is resumed
            if config.debug():
                raise
            internal = PixtralError(
                f"Internal error: {type(bug).__name__}", "PIXTRAL_DEBUG=1 stops there and shows where"
            )
            return results.failure(row, key, shape, internal, asked=asked, outage=asked, structured=structured)
        return results.success(row, key, shape, answer, request.model)

    def _answer(self, request: RowRequest) -> RowAnswer:
        answers, last = whole_answers(self.plan.engine, request.messages, request.sampling, self.stop)
        value, first = None, answers[0]
        if request.sampling.schema is not None:
            value = schema.validate(first.text, request.sampling.schema, truncated=first.finish_reason == "length")
        elif request.extract:
            answers = [replace(one, text=_code_block(one.text, request.extract)) for one in answers]
        return RowAnswer(answers, self.plan.model, last.usage or Usage(), value)


def _code_block(text: str, language: str) -> str:
    """The answer's code block in that language. Raises AnswerMismatch without one."""
    try:
        return codeblocks.pick(text, language).text
    except PixtralError as error:
        raise schema.AnswerMismatch(error.message) from None


class _Progress:
    """Counts finished and failed rows and their rate."""

    def __init__(self, before: ResumeState, total: int | None) -> None:
        self._done, self._failed = before.lines, len(before.failed)
        self._pace = ProgressRate(total, before.lines)

    def add(self, result: Result) -> BatchProgress:
        self._done += 1
        self._failed += result.error is not None
        return self.state(result)

    def state(self, result: Result | None = None) -> BatchProgress:
        now = BatchProgress(self._done, self._failed, self._pace.rate(self._done), self._pace.seconds_left(self._done))
        if result is None:
            return now
        return replace(
            now, row=result.row.label, model=result.model, failure=result.error.message if result.error else ""
        )
