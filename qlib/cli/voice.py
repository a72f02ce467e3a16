"""What `qrun` says on standard output: lines for people, or with `--json` one JSON object a line for programs.

    voice = Voice(json=True)
    with watched(voice.stage): ...              {"event": "stage", "stage": "fit", "seconds": 3.1}
    voice.closing({"run": "3f9a", ...})         {"event": "run", "run": "3f9a", ...}
    voice.failed("the run failed ...", exit=1)  {"event": "failed", ...}, and the sentence on standard error

The log (one line a stage, on standard error) is not its business. Nothing else may write to standard output.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any, Final

EVENT: Final = "event"


class Voice:
    """Says things; with `json` to a program, else to a person."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    def tell(self, event: str, **facts: Any) -> None:
        """Write one JSON line, if a program listens."""
        if self.json:
            print(json.dumps({EVENT: event, **_plain(facts)}, default=str, allow_nan=False), flush=True)

    def say(self, text: str) -> None:
        """Write lines, if a person listens."""
        if not self.json:
            print(text, flush=True)

    def stage(self, name: str, seconds: float, told: Mapping[str, Any]) -> None:
        """Tell that a stage is over: what `qlib.workflow.stage.watched` calls."""
        self.tell("stage", stage=name, seconds=round(seconds, 3), **told)

    def closing(self, event: str, facts: Mapping[str, Any]) -> None:
        """Say how it ended: one line a fact, or one object."""
        self.tell(event, **facts)
        width = max(map(len, facts), default=0) + 2
        self.say("\n".join(f"{name:<{width}}{value}" for name, value in facts.items()))

    def failed(self, sentence: str, **facts: Any) -> None:
        """Say what went wrong, on standard error, and to a program what it can act on."""
        self.tell("failed", error=sentence, **facts)
        print(f"qrun: {sentence}", file=sys.stderr, flush=True)


def _plain(node: Any) -> Any:
    """Return a table as JSON can say it: what is no number is null."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
