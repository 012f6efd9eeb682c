"""Runs an evaluation: asks every row, scores and records the answers. Yields progress."""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from random import Random

from pixtral_cli.chat.engine import Chunk, Engine, Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.chat.whole_answer import whole_answer
from pixtral_cli.errors import ContextError, ImageError, UsageError
from pixtral_cli.evals import run_folder
from pixtral_cli.evals.datasets import Dataset
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.run_folder import Record, Run
from pixtral_cli.evals.scoring.intervals import ClusteredScore, Interval, standard_interval
from pixtral_cli.evals.scoring.judge import Judge, NoRating
from pixtral_cli.evals.task import BadRow, DatasetRow, Question, Score, Task
from pixtral_cli.util.parallel import JOIN_SECONDS, Cancellation, ProgressRate


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """The task, its rows and the engine that answers. `judge`: for tasks that a model scores."""

    task: Task
    data: Dataset
    prompts: Prompts
    sampling: Sampling
    engine: Engine
    judge: Judge | None = None
    limit: int | None = None
    seed: int = 0

    def rows(self) -> list[int]:
        """The indices of the rows to ask, in order: all, or `limit` of them drawn with the seed."""
        count = len(self.data)
        if self.limit is None or self.limit >= count:
            return list(range(count))
        return sorted(Random(self.seed).sample(range(count), self.limit))


@dataclass(frozen=True, slots=True)
class EvalProgress:
    """The state of a run. `score`: the first metric so far; `left`: seconds, None while unknown."""

    done: int
    total: int
    failed: int
    score: Interval | None
    left: float | None


def remaining_rows(plan: EvalPlan, run: Run) -> set[int]:
    """The rows that have not been answered yet, or have failed."""
    return set(plan.rows()) - run.done()


def run_eval(plan: EvalPlan, run: Run, *, concurrency: int = 1) -> Generator[EvalProgress, None, None]:
    """Ask the remaining rows. Closing the iterator cancels all answers.

    A row that exceeds the context window, has a damaged image or gets no rating is recorded as failed. Any other error
    ends the run; the rows recorded so far are kept.
    """
    rows_asked = plan.rows()
    done = set(rows_asked) - remaining_rows(plan, run)
    progress = _Progress(plan.task.metrics[0], len(rows_asked), len(done))
    progress.add([record for record in run.records() if record["row"] in done])
    yield progress.state()
    worker = _Worker(plan, run, Cancellation())
    rows = plan.data.rows(set(rows_asked) - done)
    with run.lock(), closing(_in_parallel(worker, rows, concurrency, 2 * concurrency)) as answered:
        for records in answered:
            run.append(records)
            progress.add_row(records)
            yield progress.state()


def _in_parallel(
    worker: "_Worker", rows: Iterator[DatasetRow], concurrency: int, ahead: int
) -> Generator[list[Record], None, None]:
    """Each row's records as soon as they are finished; at most `ahead` rows are in memory.

    Closing it cancels the answers and waits for them for at most `JOIN_SECONDS`.
    """
    pool = ThreadPoolExecutor(concurrency)
    pending: dict[Future[list[Record]], int] = {}
    more = True
    try:
        while more or pending:
            while more and len(pending) < ahead:
                row = next(rows, None)
                if row is None:
                    more = False
                else:
                    pending[pool.submit(worker, row)] = row.index
            if pending:
                ready, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in sorted(ready, key=lambda future: (future.exception() is not None, pending[future])):
                    del pending[future]
                    yield future.result()
    finally:
        worker.stop.cancel()
        pool.shutdown(wait=False, cancel_futures=True)
        wait(pending, timeout=JOIN_SECONDS)


@dataclass(frozen=True, slots=True)
class _Worker:
    """Turns a row into its records, on a thread of the pool."""

    plan: EvalPlan
    run: Run
    stop: Cancellation

    def __call__(self, row: DatasetRow) -> list[Record]:
        try:
            questions = list(self.plan.task.ask(row, self.plan.prompts))
        except BadRow as error:
            raise UsageError(
                f"Row {row.index} is not a row of {self.plan.task.name}: {error}", "See docs/evals.md, Data"
            ) from error
        except ImageError as error:
            return [self._record(row, Question(str(row.index), ()), 0, 1, _Outcome(error=error.message))]
        if not questions:
            raise UsageError(f"Row {row.index} has no question of {self.plan.task.name}", "See docs/evals.md, Data")
        outcomes = [self._ask(question) for question in questions]
        return [
            self._record(row, question, place, len(questions), answer)
            for place, (question, answer) in enumerate(zip(questions, outcomes, strict=True))
        ]

    def _ask(self, question: Question) -> "_Outcome":
        """Answer and score a question."""
        began = time.monotonic()
        try:
            answers, final_chunks = self._converse(question)
        except (ContextError, ImageError) as error:
            zeros = {} if self.plan.judge else {name: Score(0.0) for name in self.plan.task.metrics}
            return _Outcome(scores=zeros, error=error.message, seconds=time.monotonic() - began)
        for message in question.messages:
            for image in message.images:
                self.run.save_image(image)
        loading = sum(last.timings.load for last in final_chunks if last.timings)
        seconds = max(0.0, time.monotonic() - began - loading)
        try:
            scores, verdict = self._score(question, answers)
        except NoRating as error:
            return _Outcome(answers, final_chunks, error=error.message, seconds=seconds)
        return _Outcome(answers, final_chunks, scores, verdict, seconds=seconds)

    def _converse(self, question: Question) -> tuple[list[str], list[Chunk]]:
        """The answers to the question and to each follow-up, and the last chunk of each, which has usage and timings."""
        history: list[Message] = list(question.messages)
        answers: list[str] = []
        final_chunks: list[Chunk] = []
        for follow_up in ("", *question.follow_ups):
            if follow_up:
                history += [assistant(answers[-1]), user(follow_up)]
            text, last = whole_answer(self.plan.engine, history, self.plan.sampling, self.stop)
            answers.append(text)
            final_chunks.append(last)
        return answers, final_chunks

    def _score(self, question: Question, answers: Sequence[str]) -> tuple[Mapping[str, Score], str]:
        """The scores by metric, and what the judge wrote ("" without a judge). Raises NoRating."""
        if self.plan.judge:
            score, verdict = self.plan.judge(question, answers, self.stop)
            return {self.plan.task.metrics[0]: Score(score)}, verdict
        assert self.plan.task.score is not None
        return self.plan.task.score(question, answers), ""

    def _record(self, row: DatasetRow, question: Question, place: int, of: int, outcome: "_Outcome") -> Record:
        return {
            "row": row.index, "key": question.key, "place": place, "of": of, "groups": list(question.groups),
            "messages": run_folder.messages_json(question.messages), "follow_ups": list(question.follow_ups),
            "answers": list(outcome.answers), "references": list(question.references),
            "scores": {name: score.value for name, score in outcome.scores.items()},
            "weights": {name: score.weight for name, score in outcome.scores.items() if score.weight != 1},
            "verdict": outcome.verdict, "error": outcome.error,
            "prompt_tokens": sum(last.usage.prompt_tokens for last in outcome.final_chunks if last.usage),
            "completion_tokens": sum(last.usage.completion_tokens for last in outcome.final_chunks if last.usage),
            "seconds": round(outcome.seconds, 4),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of one question. `final_chunks`: the last chunk of each answer, with usage and timings."""

    answers: Sequence[str] = ()
    final_chunks: Sequence[Chunk] = ()
    scores: Mapping[str, Score] = field(default_factory=dict)
    verdict: str = ""
    error: str = ""
    seconds: float = 0.0


def scores_by_question(records: Iterable[Record], metric: str) -> dict[str, ClusteredScore]:
    """Each question's score in a metric, by its key; the questions of a row are one cluster."""
    return {
        record["key"]: ClusteredScore(str(record["row"]), record["scores"][metric], record["weights"].get(metric, 1.0))
        for record in records
        if metric in record["scores"]
    }


class _Progress:
    """Collects scores, failures and the rate of a run."""

    def __init__(self, metric: str, total: int, done: int) -> None:
        self._metric = metric
        self._total = total
        self._done = done
        self._failed = 0
        self._scores: list[ClusteredScore] = []
        self._pace = ProgressRate(total, done)

    def add_row(self, records: Sequence[Record]) -> None:
        """Count a row that is done."""
        self._done += 1
        self.add(records)

    def add(self, records: Sequence[Record]) -> None:
        self._scores += scores_by_question(records, self._metric).values()
        self._failed += sum(1 for record in records if record["error"])

    def state(self) -> EvalProgress:
        score = standard_interval(self._scores) if self._scores else None
        return EvalProgress(self._done, self._total, self._failed, score, self._pace.seconds_left(self._done))
