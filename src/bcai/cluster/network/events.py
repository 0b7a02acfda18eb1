"""What a network tells the person who started it: plain lines, or JSON lines for programs."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NetworkEvent:
    """Something worth knowing about the network. `kind` is stable; `text` is for people."""

    kind: str  # ready, ended, restarted, stopping, stopped, untrusted
    text: str
    details: dict[str, object] = field(default_factory=dict[str, object])


Tell = Callable[[NetworkEvent], None]


def tell_people(event: NetworkEvent) -> None:
    """Write a line; what went wrong goes to stderr."""
    stream = sys.stderr if event.kind in ("ended", "restarted", "untrusted") else sys.stdout
    stream.write(event.text + "\n")
    stream.flush()


def tell_programs(event: NetworkEvent) -> None:
    """Write a JSON line."""
    line = {"event": event.kind, "text": event.text, **event.details}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
