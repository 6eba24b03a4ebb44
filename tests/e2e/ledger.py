"""What the steps of the stress graph left in a file of the test's: the only witness that survives every process."""

import json
from collections import Counter
from pathlib import Path
from typing import Any


class Ledger:
    """One line for each step that began: `{run_id, attempt, step, time, pid}`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, run_id: str | None = None) -> list[dict[str, Any]]:
        text = self.path.read_text() if self.path.exists() else ""
        # The last line may be on its way.
        found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in found if run_id in (None, line["run_id"])]

    def steps(self, run_id: str | None = None) -> list[int]:
        return [line["step"] for line in self.lines(run_id)]

    def attempts(self, run_id: str | None = None) -> list[int]:
        """The attempts that began a step, each once."""
        return sorted({line["attempt"] for line in self.lines(run_id)})

    def done_twice(self, run_id: str | None = None) -> list[tuple[str, int]]:
        """The finished steps that began again. The step that a lost attempt was torn out of may do so once more."""
        lines = self.lines(run_id)
        last = {line["run_id"]: line["attempt"] for line in lines}
        torn = {(line["run_id"], line["attempt"]): line["step"] for line in lines}
        begun = Counter((line["run_id"], line["step"]) for line in lines)
        again = Counter((run, step) for (run, attempt), step in torn.items() if attempt != last[run])
        return [place for place, times in begun.items() if times > 1 + again[place]]
