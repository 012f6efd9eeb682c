"""Small data sets of each task's true schema, as parquet or JSONL, and the answers that are right there."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def png(colour: str = "red", size: tuple[int, int] = (32, 32)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def picture(colour: str = "red") -> dict[str, Any]:
    """As the hub's parquet files hold an image."""
    return {"bytes": png(colour), "path": f"{colour}.png"}


MMMU = [
    {
        "id": "validation_Art_1", "question": "<image 1> Which <image 2> is blue?", "options": "['red', 'blue']",
        "explanation": "", "image_1": picture("red"), "image_2": picture("blue"), "image_3": None, "img_type": "['Photo']",
        "answer": "B", "topic_difficulty": "Easy", "question_type": "multiple-choice", "subfield": "Paint",
    },
    {
        "id": "validation_Math_2", "question": "How many? <image 1>", "options": "[]", "explanation": "", "image_1": picture(),
        "image_2": None, "image_3": None, "img_type": "[]", "answer": "['10', '10.0']", "topic_difficulty": "Hard",
        "question_type": "open", "subfield": "Counting",
    },
]  # fmt: skip
MATHVISTA = [
    {
        "pid": "1", "question": "How many?", "image": "images/1.jpg", "decoded_image": picture(), "choices": ["3", "4"],
        "unit": None, "precision": 1.0, "answer": "4", "question_type": "multi_choice", "answer_type": "text",
        "metadata": {"category": "general-vqa", "task": "figure question answering"}, "query": "Choices: (A) 3 (B) 4\\nHow many?",
    },
    {
        "pid": "2", "question": "What value?", "image": "images/2.jpg", "decoded_image": picture("blue"), "choices": None,
        "unit": None, "precision": 1.0, "answer": "1.2", "question_type": "free_form", "answer_type": "float",
        "metadata": {"category": "math-targeted-vqa", "task": "math word problem"}, "query": "What value?",
    },
]  # fmt: skip
CHARTQA = [
    {"type": "human_test", "question": "Which is highest?", "answer": ["Peru"], "image": picture()},
    {"type": "augmented_test", "question": "What share?", "answer": ["25%"], "image": picture("blue")},
]
DOCVQA = [
    {
        "questionId": "24580", "question": "What is the date?", "question_types": ["handwritten", "form"],
        "image": picture("white"), "docId": 7, "ucsf_document_id": "x", "ucsf_document_page_no": "4", "answers": ["1/8/93", "1/8/1993"],
        "data_split": "val",
    }
]  # fmt: skip
VQAV2 = [
    {
        "question_type": "what color", "multiple_choice_answer": "red", "image_id": 3, "answer_type": "other", "question_id": 3000,
        "question": "What color?", "image": picture(),
        "answers": [{"answer": "red" if i < 9 else "pink", "answer_confidence": "yes", "answer_id": i} for i in range(10)],
    }
]  # fmt: skip
CONVERSATION = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What colour?"}]},
    {"role": "assistant", "content": "It is red."},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Yes, red."},
]
MM_MT_BENCH = [{"image": picture(), "conversation": json.dumps(CONVERSATION), "category": "Charts"}]
MT_BENCH = [
    {"category": "math", "prompt": ["What is 1+1?", "And twice that?"], "reference": ["2", "4"], "prompt_id": 101},
    {"category": "writing", "prompt": ["Write a line.", "Shorter."], "reference": [], "prompt_id": 102},
]
MMLU = [{"question": "Which is a prime?", "subject": "algebra", "choices": ["4", "6", "7", "8"], "answer": 2}]
MATH = [
    {
        "problem": "Halve one.", "solution": "So \\boxed{\\frac12}.", "answer": "\\frac{1}{2}", "subject": "Prealgebra",
        "level": 1, "unique_id": "test/prealgebra/1.json",
    },
]  # fmt: skip
HUMANEVAL = [
    {
        "task_id": "HumanEval/0", "prompt": 'def twice(n: int) -> int:\n    """Double n."""\n', "canonical_solution": "    return 2 * n\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n", "entry_point": "twice",
    }
]  # fmt: skip
IF_EVAL = [
    {
        "key": 1000, "prompt": "Write two words in lowercase, without commas.",
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{"num_words": None, "relation": None}, {"num_words": 3, "relation": "less than"}],
    }
]  # fmt: skip

SCHEMAS: dict[str, list[dict[str, Any]]] = {
    "mmmu": MMMU, "mathvista": MATHVISTA, "chartqa": CHARTQA, "docvqa": DOCVQA, "vqav2": VQAV2, "mm-mt-bench": MM_MT_BENCH,
    "mt-bench": MT_BENCH, "mmlu": MMLU, "math": MATH, "humaneval": HUMANEVAL,
    "if-eval": IF_EVAL, "mm-if-eval": [{**IF_EVAL[0], "image": picture()}],
}  # fmt: skip
# For each question in order an answer that is wholly right.
RIGHT: dict[str, list[str]] = {
    "mmmu": ["It is the second.\nFinal Answer: B", "**Final Answer:** 10"],
    "mathvista": ["Final Answer: B", "Final Answer: 1.21"],
    "chartqa": ["Final Answer: Peru", "Final Answer: 25%"],
    "docvqa": ["1/8/1993"],
    "vqav2": ["red"],
    "mmlu": ["Seven.\nFinal Answer: C"],
    "math": ["Final Answer: \\boxed{\\dfrac{1}{2}}"],
    "if-eval": ["two words"],
    "mm-if-eval": ["red square"],
    "humaneval": ["```python\ndef twice(n: int) -> int:\n    return n + n\n```"],
}
JSONL = {"mt-bench", "math", "if-eval"}


def folder(name: str, at: Path) -> Path:
    """A folder with the task's rows, in the file format they are published in."""
    at.mkdir(parents=True, exist_ok=True)
    rows = SCHEMAS[name]
    if name in JSONL:
        (at / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), at / "rows.parquet")
    return at
