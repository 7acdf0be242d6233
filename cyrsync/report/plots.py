"""Plots of a replica's runs over time, as SVG: bars, each of all the runs within a stretch of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

from cyrsync.report.known import local
from cyrsync.text import human_bytes, human_count, human_seconds

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from cyrsync.report.known import Known, Run

#: Stretches of time in a plot.
COUNT = 120
#: The units of a plot: of a bar's width, with the gap behind it, and of the highest one.
_STEP, _HEIGHT = 5, 80


class Bar(NamedTuple):
    """A stretch of time in a plot."""

    start: float  # seconds since 1970, as is its end
    end: float
    value: float
    bad: bool  # a run in it failed


class Plot(NamedTuple):
    """A plot, and what is to be written beside it."""

    name: str
    top: str  # the highest value
    first: str  # the times at its left and at its right end
    last: str
    drawn: Element


def element(tag: str, *inside: Element | str, **attributes: str) -> Element:
    """Return an element of HTML or SVG with texts and elements in it; what is special in a text is escaped later."""
    made = ElementTree.Element(tag, {name.strip("_").replace("_", "-"): value for name, value in attributes.items()})
    last: Element | None = None
    for one in inside:
        if not isinstance(one, str):
            made.append(one)
            last = one
        elif last is None:
            made.text = (made.text or "") + one
        else:
            last.tail = (last.tail or "") + one
    return made


def plots(known: Known, now: datetime) -> Iterator[Plot]:
    """Yield the plots of a replica: none where there is nothing to draw."""
    runs = sorted((run for run in known.runs if not run.skipped), key=lambda run: run.started)
    if not runs or runs[0].started >= now:
        return
    edges = _edges(runs[0].started.timestamp(), now.timestamp())
    drawn: list[tuple[str, Sequence[Bar], Callable[[float], str]]] = [
        ("Duration", _of_runs(runs, edges, lambda some: max(run.seconds for run in some)), human_seconds),
        ("Lag", _lag(runs, edges), human_seconds),
        ("Messages", _of_runs(runs, edges, lambda some: sum(run.messages for run in some)), _whole(human_count)),
        ("Bytes", _of_runs(runs, edges, lambda some: sum(run.bytes_sent for run in some)), _whole(human_bytes)),
    ]
    for name, bars, shown in drawn:
        if any(bar.value for bar in bars):
            yield _plot(name, bars, shown)


def _whole(shown: Callable[[int], str]) -> Callable[[float], str]:
    return lambda value: shown(round(value))


def _edges(first: float, last: float) -> list[float]:
    return [first + (last - first) * number / COUNT for number in range(COUNT + 1)]


def _of_runs(runs: Sequence[Run], edges: Sequence[float], value: Callable[[Sequence[Run]], float]) -> list[Bar]:
    """Return a bar for each stretch, by the runs that began in it."""
    found: list[list[Run]] = [[] for _ in range(COUNT)]
    for run in runs:
        found[_stretch(run.started.timestamp(), edges)].append(run)
    return [
        Bar(start, end, value(some) if some else 0.0, any(run.went_wrong for run in some))
        for (start, end), some in zip(pairwise(edges), found, strict=True)
    ]


def _lag(runs: Sequence[Run], edges: Sequence[float]) -> list[Bar]:
    """Return how far the replica was behind at most in each stretch: the time since the last success began."""
    ends = sorted((run.started.timestamp() + run.seconds, run.started.timestamp()) for run in runs if run.succeeded)
    highest = [0.0] * COUNT
    for (done, began), (until, _) in pairwise([*ends, (edges[-1], edges[-1])]):
        # The lag grows from one success to the end of the next one.
        for number in range(_stretch(done, edges), _stretch(until, edges) + 1):
            highest[number] = max(highest[number], min(edges[number + 1], until) - began)
    return [
        Bar(start, end, max(value, 0.0), False) for (start, end), value in zip(pairwise(edges), highest, strict=True)
    ]


def _stretch(moment: float, edges: Sequence[float]) -> int:
    width = (edges[-1] - edges[0]) / COUNT
    return min(max(int((moment - edges[0]) / width), 0), COUNT - 1)


def _plot(name: str, bars: Sequence[Bar], shown: Callable[[float], str]) -> Plot:
    top = max(bar.value for bar in bars)
    first, last = (local(datetime.fromtimestamp(moment).astimezone()) for moment in (bars[0].start, bars[-1].end))
    drawn = element(
        "svg",
        *(_bar(number, bar, bar.value / top, shown) for number, bar in enumerate(bars) if bar.value > 0 or bar.bad),
        viewBox=f"0 0 {COUNT * _STEP - 1} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{name} from {first} to {last}, {shown(top)} at most",
    )
    return Plot(name, shown(top), first, last, drawn)


def _bar(number: int, bar: Bar, part: float, shown: Callable[[float], str]) -> Element:
    # What is more than nothing shows, and so does a run that failed at once.
    height = max(round(part * _HEIGHT, 1), 1.0)
    start, end = (local(datetime.fromtimestamp(moment).astimezone()) for moment in (bar.start, bar.end))
    return element(
        "rect",
        element("title", f"{start} to {end}: {shown(bar.value)}{', a run failed' if bar.bad else ''}"),
        x=str(number * _STEP),
        y=f"{_HEIGHT - height:g}",
        width=str(_STEP - 1),
        height=f"{height:g}",
        _class="bad" if bar.bad else "bar",
    )
