"""Several answers to a row, log-probabilities, and tool calls in the history of a row."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from tests.batch.calling import batch, read, request, write

TOKEN = {"token": "a", "logprob": -0.5, "bytes": [97]}
LOGPROBS = {"content": [{**TOKEN, "top_logprobs": []}], "refusal": None}
ANSWERS = [{"answer": "answer 0", "finish_reason": "stop"}, {"answer": "answer 1", "finish_reason": "length"}]


def test_flags_hold_for_rows_of_both_shapes_and_rows_win(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, request("b"), {"prompt": "c", "n": 1, "logprobs": True}, request("d", n=3, logprobs=True)]
    done = batch(write(tmp_path / "rows.jsonl", rows), "--n", "2")
    assert done.status == 0, done.stderr
    one, two, three, four = read(done.stdout)
    assert (one["answer"], one["answers"], one["finish_reason"]) == ("answer 0", ANSWERS, "stop")
    assert [choice["message"]["content"] for choice in two["response"]["body"]["choices"]] == ["answer 0", "answer 1"]
    assert (three["answer"], three["logprobs"], "answers" in three) == ("answer 0", LOGPROBS, False)
    completion = ChatCompletion.model_validate(four["response"]["body"])
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert [choice.finish_reason for choice in completion.choices] == ["stop", "length", "length"]
    assert all(choice.logprobs and choice.logprobs.content for choice in completion.choices)


def test_a_table_has_a_column_for_each_answer(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "n": 2}, {"prompt": "b", "logprobs": True, "metadata": {"answer_2": "mine"}, "n": 2}]
    done = batch(write(tmp_path / "rows.jsonl", rows), "-o", tmp_path / "out.csv")
    assert done.status == 0, done.stderr
    one, two = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text()))
    assert (one["answer"], one["answer_2_answer"], one["answer_2"]) == ("answer 0", "answer 1", "")
    assert list(one) == ["answer_2", "answer", "answer_2_answer", "logprobs_1", "logprobs_2", "error"]
    assert (two["answer_2"], two["answer_2_answer"]) == ("mine", "answer 1")
    assert two["logprobs_1"].startswith('{"content"')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--n", "2", "--schema", "name"), "--n 2 makes several answers, and a schema takes one"),
        (("--top-logprobs", "2"), "--top-logprobs goes with --logprobs"),
        (("--logit-bias", "x"), "--logit-bias x is no TOKEN=BIAS"),
        (("--n", "99"), "--n"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = batch(write(tmp_path / "rows.jsonl", [{"prompt": "a"}]), *words)
    assert (done.status, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert said in done.stderr


def calls(result_of: str) -> list[dict[str, Any]]:
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    return [
        {"role": "user", "content": "Late?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": result_of, "content": "23:00"},
    ]


def test_a_row_may_go_on_from_the_result_of_a_call(tmp_path: Path) -> None:
    rows = [
        {"custom_id": name, "body": {"model": "demo", "messages": calls(result_of)}}
        for name, result_of in (("good", "abcdefghi"), ("bad", "other"))
    ]
    done = batch(write(tmp_path / "rows.jsonl", rows))
    good, bad = read(done.stdout)
    assert good["error"] is None
    assert bad["error"]["message"].startswith("body.messages[2].tool_call_id: is of no call before it")
