"""`pixtral batch --dry-run`: the cost of a batch. Rows are read, images fetched and checked, tokens counted."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace

from pixtral_cli.batch.input import InputRow
from pixtral_cli.batch.runner import ROWS_AHEAD, BatchPlan
from pixtral_cli.chat.engine import Cost
from pixtral_cli.errors import PixtralError
from pixtral_cli.structured.schema import with_schema_prompt
from pixtral_cli.util.parallel import map_in_order


@dataclass(frozen=True, slots=True)
class CostTotal:
    """The cost of the rows so far. `failed`: rows that would fail; `failure`: the error of the newest row, named `row`, or ""."""

    rows: int = 0
    failed: int = 0
    images: int = 0
    image_tokens: int = 0
    prompt_tokens: int = 0
    failure: str = ""
    row: str = ""


def total_costs(plan: BatchPlan, rows: Iterable[InputRow]) -> Generator[CostTotal, None, None]:
    """The total after each row, in order. Needs no weights."""
    total = CostTotal()
    for row, cost in map_in_order(
        lambda row: (row.label, _row_cost(plan, row)),
        rows,
        workers=plan.concurrency,
        max_pending=ROWS_AHEAD * plan.concurrency,
    ):
        if isinstance(cost, PixtralError):
            total = replace(total, rows=total.rows + 1, failed=total.failed + 1, failure=cost.message, row=row)
        else:
            total = CostTotal(
                total.rows + 1, total.failed, total.images + len(cost.images), total.image_tokens + cost.image_tokens,
                total.prompt_tokens + cost.prompt_tokens,
            )  # fmt: skip
        yield total


def _row_cost(plan: BatchPlan, row: InputRow) -> Cost | PixtralError:
    try:
        _, request = plan.open(row)
        row_request = request()
        cost = plan.engine.measure(with_schema_prompt(row_request.messages, row_request.sampling.schema))
        cost.check_fits(row_request.sampling.max_tokens)
    except PixtralError as error:
        return error
    return cost
