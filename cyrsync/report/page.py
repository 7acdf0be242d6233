"""The page of `status --html`: one file with all in it, no script, nothing loaded from elsewhere.

It is made of elements, not of text: names, which mail users chose, and errors are escaped when it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from cyrsync import __version__
from cyrsync.report import overview
from cyrsync.report.known import local
from cyrsync.report.plots import Plot, element, plots
from cyrsync.report.status import facts
from cyrsync.text import human_bytes, human_count, human_seconds

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from cyrsync.report.known import Known, Run

#: Runs in the table of a replica.
_RUNS = 50
_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1c2024; --dim: #60646c; --line: #d9d9e0; --bar: #0d74ce;
  --bad: #ce2c31; --good: #218358; }
@media (prefers-color-scheme: dark) {
  :root { --back: #111113; --text: #edeef0; --dim: #b0b4ba; --line: #363a3f; --bar: #70b8ff; --bad: #ff9592;
    --good: #3dd68c; }
}
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
a { color: inherit; }
.scroll { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 600; } .number { text-align: right; } .number, .time { white-space: nowrap; }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: .1rem 1rem; } dt { color: var(--dim); } dd { margin: 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem 2rem; }
svg { width: 100%; height: 5rem; display: block; border-bottom: 1px solid var(--line); }
.bar { fill: var(--bar); } svg .bad { fill: var(--bad); }
h3, .times { display: flex; justify-content: space-between; } h3 span { font-weight: normal; }
.times { font-size: .8rem; }
td.bad, dd.bad { color: var(--bad); } td.bad:last-child { overflow-wrap: anywhere; min-width: 12rem; }
td.good { color: var(--good); } .dim, footer { color: var(--dim); }
summary { cursor: pointer; color: var(--dim); margin-top: 1rem; }
"""
#: What a browser may load for the page: nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(found: Sequence[Known], now: datetime, limit: float | None) -> str:
    """Return the text of the page."""
    summary = overview.summary(found, now, limit)
    html = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("meta", name="referrer", content="no-referrer"),
            element("title", f"cyrsync: {summary}"),
            element("style", _STYLE),
        ),
        element(
            "body",
            element("h1", f"cyrsync: {summary}"),
            element("p", f"As of {local(now)} {now.astimezone().tzname()}. Times are local.", _class="dim"),
            _overview(found, now, limit),
            *(_section(number, known, now, limit) for number, known in enumerate(found)),
            element("footer", element("p", f"Made by cyrsync {__version__}.")),
        ),
        lang="en",
    )
    return "<!DOCTYPE html>\n" + ElementTree.tostring(html, encoding="unicode", method="html") + "\n"


def _overview(found: Sequence[Known], now: datetime, limit: float | None) -> Element:
    heads = overview.columns(found)
    rows = []
    for number, known in enumerate(found):
        cells = []
        for head in heads:
            text = overview.cell(known, head, now, limit)
            inside = element("a", text, href=f"#replica-{number}") if head == "Replica" else text
            cells.append(element("td", inside, _class=_kind(head, text)))
        rows.append(element("tr", *cells))
    return _table(heads, rows)


def _kind(head: str, text: str) -> str:
    if head == "Problem":
        return "good" if text == "-" else "bad"
    return {"Behind": "number", "Last success": "time"}.get(head, "text")


def _table(heads: Sequence[str], rows: Sequence[Element]) -> Element:
    head = element("tr", *(element("th", text, _class=_kind(text, text)) for text in heads))
    return element("div", element("table", element("thead", head), element("tbody", *rows)), _class="scroll")


def _section(number: int, known: Known, now: datetime, limit: float | None) -> Element:
    """Return all that is known of a replica."""
    drawn = [_figure(plot) for plot in plots(known, now)]
    return element(
        "section",
        element("h2", known.destination),
        element("dl", *_facts(known, now, limit)),
        *([element("div", *drawn, _class="plots")] if drawn else []),
        *([_runs(known.runs)] if known.runs else []),
        id=f"replica-{number}",
    )


def _figure(plot: Plot) -> Element:
    head = element("h3", plot.name, element("span", f"up to {plot.top}", _class="dim"))
    times = element("div", element("span", plot.first), element("span", plot.last), _class="dim times")
    return element("div", head, plot.drawn, times)


def _facts(known: Known, now: datetime, limit: float | None) -> Iterator[Element]:
    yield element("dt", "Machine")
    yield element("dd", f"{known.host}, which reported this at {local(known.reported)}")
    for name, value, alarming in facts(known, now, limit):
        if name != "Replica":
            yield element("dt", name)
            yield element("dd", value, _class="bad" if alarming else "text")


def _runs(runs: Sequence[Run]) -> Element:
    heads = ("Started", "Took", "Exit", "Messages", "Bytes", "Deleted", "Failed", "Part")
    rows = [element("tr", *_cells(run)) for run in runs[:_RUNS]]
    of_all = f", {human_count(len(rows))} of {human_count(len(runs))}" if len(rows) < len(runs) else ""
    return element("details", element("summary", f"The last runs{of_all}"), _table(heads, rows))


def _cells(run: Run) -> Iterator[Element]:
    yield element("td", local(run.started), _class="time")
    yield element("td", human_seconds(run.seconds), _class="number")
    yield element(
        "td", str(run.exit), _class="dim number" if run.skipped else "bad number" if run.went_wrong else "number"
    )
    counts = (human_count(run.messages), human_bytes(run.bytes_sent), human_count(run.deleted), human_count(run.failed))
    for text in counts:
        yield element("td", text, _class="number")
    yield element("td", " ".join(run.part))
