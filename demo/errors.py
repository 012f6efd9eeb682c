"""The one error of the demo's tools: what went wrong and what to do."""


class DemoError(Exception):
    """`message` says what and why, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}\n{hint}")
