"""The result of a promotion, printed: what is known of the replica, and the commands that remain."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cyrsync.report.audit import render
from cyrsync.standby.promotion import Promotion
from cyrsync.text import human_count, human_seconds, iso, path_text, printable

if TYPE_CHECKING:
    from rich.console import Console


def show(result: Promotion, console: Console, verbose: bool) -> None:
    """Print what is known of the replica, what is wrong with it, and the commands that remain."""
    from rich.text import Text

    for line in _lines(result):
        console.print(Text(printable(line)), soft_wrap=True)
    render(result.audit, console, verbose)
    remaining = [step for step in result.steps if step.exit != 0]
    if remaining:
        console.print()
        console.print(Text("What remains to be done", style="bold"))
    for step in remaining:
        console.print(Text(step.command), soft_wrap=True, end="" if step.why else "\n")
        if step.why:
            console.print(Text(f"  # {printable(step.why)}", style="dim"), soft_wrap=True)


def _lines(result: Promotion) -> list[str]:
    again = " already" if result.again else ""
    lines = [f"Promoted{again} at {result.promoted}: no cyrsync writes here any more.", *_age(result)]
    if result.removed:
        lines.append(f"Leftovers of runs and writers that were cut off, now removed: {human_count(result.removed)}.")
    if result.foreign:
        few = ", ".join(map(path_text, result.examples))
        more = ", ..." if result.foreign > len(result.examples) else ""
        files = f"{human_count(result.foreign)} files and folders are not {result.owner}'s to write to"
        lines.append(f"{files}: {few}{more}")
    done = [step for step in result.steps if step.exit == 0]
    if done:
        mended = f"; mailboxes that were damaged, and are well now: {result.mended}" if result.mended else ""
        lines.append(f"Commands that were run: {len(done)}{mended}.")
    return lines


def _age(result: Promotion) -> list[str]:
    if not result.begun:
        return ["It is not known whose replica this is, nor how old it is."]
    lines = [f"A replica of {result.source}. The last run that sent anything began {_ago(result.begun)}."]
    if result.cut_off:
        last = f"began {_ago(result.complete)}" if result.complete else "there is none"
        lines.append(f"That run was cut off, or is in doubt. The last one that left nothing undone: {last}.")
    elif result.complete < result.begun:
        last = f"began {_ago(result.complete)}" if result.complete else "there is none"
        lines.append(f"It left something undone. The last one that did not: {last}.")
    return [*lines, "Mail that reached the master later is not here; runs that find nothing new leave no trace here."]


def _ago(when: float) -> str:
    return f"{human_seconds(max(time.time() - when, 0.0))} ago ({iso(when)})"
