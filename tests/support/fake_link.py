"""A far end that is not there: an agent's or a shell's answer, as bytes that were made before."""

from __future__ import annotations

import io

from cyrsync.ends.agent_tree import AgentTree
from cyrsync.errors import ConnectionFailed


class FakeLink:
    """A far end that has said all that it says."""

    name = "host"

    def __init__(self, answer: bytes) -> None:
        self.output = io.BufferedReader(io.BytesIO(answer))  # type: ignore[arg-type]

    def wait_for(self, *lines: bytes) -> bytes:
        return lines[0]

    def send(self, data: bytes) -> None:
        """Nobody listens."""

    def see_work(self, since: float) -> None:
        """Nobody waits for long."""

    def failure(self) -> ConnectionFailed:
        return ConnectionFailed("host: the connection failed")


def fake_agent(answer: bytes, *, compressed: bool) -> AgentTree:
    """The tree of an agent with this answer."""
    made = AgentTree(lambda: FakeLink(answer), compressed)  # type: ignore[arg-type, return-value]
    made._agent._taught = True
    return made
