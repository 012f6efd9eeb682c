"""What a batch would cost, without answering: every row is read, its images fetched and checked, its tokens counted."""

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
    """What the rows cost so far; `failed` of them could not be answered, the last for the reason `failure` if it is one."""

    rows: int = 0
    failed: int = 0
    images: int = 0
    image_tokens: int = 0
    prompt_tokens: int = 0
    failure: str = ""


def total_costs(plan: BatchPlan, rows: Iterable[InputRow]) -> Generator[CostTotal, None, None]:
    """The sum, anew after every row. Loads no weights."""
    sum = CostTotal()
    for cost in map_in_order(
        lambda row: _row_cost(plan, row), rows, workers=plan.concurrency, ahead=ROWS_AHEAD * plan.concurrency
    ):
        if isinstance(cost, PixtralError):
            sum = replace(sum, rows=sum.rows + 1, failed=sum.failed + 1, failure=cost.message)
        else:
            sum = CostTotal(
                sum.rows + 1, sum.failed, sum.images + len(cost.images), sum.image_tokens + cost.image_tokens,
                sum.prompt_tokens + cost.prompt_tokens,
            )  # fmt: skip
        yield sum


def _row_cost(plan: BatchPlan, row: InputRow) -> Cost | PixtralError:
    try:
        _, request = plan.open(row)
        wanted = request()
        cost = plan.engine.measure(with_schema_prompt(wanted.messages, wanted.sampling.schema))
        cost.check_fits(wanted.sampling.max_tokens)
    except PixtralError as error:
        return error
    return cost
