"""The page of `status --html`, read as strictly as XML where a browser would forgive."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from xml.etree.ElementTree import Element

from hypothesis import given
from hypothesis import strategies as st

from cyrsync.report.known import Known, Run, Running
from cyrsync.report.page import page
from cyrsync.report.plots import COUNT, plots
from support.page import LOADS, Page

NOW = datetime.fromtimestamp(3600 * 1000, timezone.utc)


def run(seconds_ago: float, code: int = 0, **more: int) -> Run:
    counts = {"messages": 5, "bytes_sent": 5000, "deleted": 0, "withheld": 0, "failed": 0, **more}
    return Run(NOW - timedelta(seconds=seconds_ago), 2.0, code, (), **counts)


def known(*runs: Run, **more: str) -> Known:
    success = next((one for one in runs if one.succeeded), None)
    found = Known("/etc/imapd.conf", "standby:/", "mx", NOW, runs=runs, last_success=success and success.started)
    return replace(found, **more)  # type: ignore[arg-type]


def test_nothing_is_loaded_and_nothing_runs() -> None:
    found = known(*(run(300 * number, 23 * (number == 3)) for number in range(1, 200)))
    text = page([found, known(destination="other:/")], NOW, 60)
    assert text.startswith("<!DOCTYPE html>\n<html")
    made = Page(text)
    assert not {tag for tag, _ in made.tags} & LOADS
    for _, attributes in made.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "xlink:href")]
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import|https?:", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert {attributes["href"][1:] for tag, attributes in made.tags if tag == "a"} == {
        attributes["id"] for tag, attributes in made.tags if tag == "section"
    }


def test_what_is_on_it() -> None:
    runs = [run(300), run(600, 23), run(900)]
    found = replace(known(*runs), running=(Running(4711, NOW, False),), last_error="bad", last_error_at=runs[1].started)
    made = Page(page([found], NOW, 60))
    text = "\n".join(made.texts)
    for shown in ("1 replica, 1 with a problem", "standby:/", "process 4711 since ", "bad", "Duration", "Lag", "Bytes"):
        assert shown in text
    assert sum(tag == "svg" for tag, _ in made.tags) == 4
    assert sum(tag == "rect" and attributes["class"] == "bad" for tag, attributes in made.tags) == 3  # not of the lag


@given(st.text(), st.text())
def test_names_are_texts_whatever_they_are(name: str, error: str) -> None:
    """Beyond what `printable` lets through: nothing that is given gets out of the text that it is in."""
    quiet, loud = known(run(300)), known(run(300), destination=name, source=error, host=name, plain_rsync="")
    loud = replace(loud, last_error=error, last_error_at=loud.last_success, last_attempt=loud.last_success)
    shape = [tag for tag, _ in Page(page([quiet], NOW, None)).tags]
    found = [tag for tag, _ in Page(page([replace(quiet, destination=name, source=name)], NOW, None)).tags]
    assert found == shape
    Page(page([loud], NOW, None))


def test_names_that_would_be_markup() -> None:
    hostile = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"
    made = Page(page([known(run(300), destination=hostile, source=hostile, host=hostile)], NOW, None))
    assert not {tag for tag, _ in made.tags} & LOADS
    assert hostile in "".join(made.texts)


# --- The plots


def svgs(found: Known) -> dict[str, Element]:
    return {plot.name: plot.drawn for plot in plots(found, NOW)}


def test_a_plot_has_so_many_bars_however_many_runs() -> None:
    found = known(*(run(60 * number) for number in range(1, 1001)))
    drawn = svgs(found)
    assert list(drawn) == ["Duration", "Lag", "Messages", "Bytes"]
    for plot in drawn.values():
        assert len(plot.findall("rect")) == COUNT
        left = [float(rect.attrib["x"]) for rect in plot.iter("rect")]
        assert left == sorted(set(left))
        assert all(0 <= float(rect.attrib["y"]) < 80 and float(rect.attrib["height"]) > 0 for rect in plot.iter("rect"))


def test_messages_are_summed_and_durations_are_not() -> None:
    drawn = svgs(known(run(1, messages=3), run(1, messages=4), run(100_000, messages=1)))
    assert [title.text for title in drawn["Messages"].iter("title")][-1].endswith(": 7")  # type: ignore[union-attr]
    assert [title.text for title in drawn["Duration"].iter("title")][-1].endswith(": 2.0 s")  # type: ignore[union-attr]


def test_the_lag_grows_until_a_run_succeeds() -> None:
    """Successes 10,000 and 1,000 seconds ago: just before the second was done, the first had begun 9,002 s before."""
    drawn = svgs(known(run(500, 23), run(1000), run(10_000)))
    assert "2 h 30 min at most" in drawn["Lag"].attrib["aria-label"]
    heights = [float(rect.attrib["height"]) for rect in drawn["Lag"].iter("rect")]
    assert heights[:100] == sorted(heights[:100])
    assert heights[-1] < 20


def test_nothing_to_draw() -> None:
    assert svgs(known()) == {}
    assert svgs(known(run(300, 75))) == {}
    assert svgs(known(run(-300))) == {}  # by a clock that is ahead
