"""What other machines have printed: read back as it was, and nothing of it believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.errors import UnusableError
from cyrsync.report import reported
from cyrsync.report.known import Known, of_pair
from cyrsync.rolling.plain import Counts, Late, Status
from cyrsync.state.history import Pair
from cyrsync.state.running import Holder
from support.runs import record, result

NOW = datetime.fromtimestamp(3600 * 10, timezone.utc)
LATE = Late("user/joe", 5.0, 2, "gone")
STATUS = Status(7, 36000.0, 1.0, "cyrsync", True, 2.0, "", 0.0, 3, [LATE], 4.0, 0, Counts())


def full() -> Known:
    failed = record(598, 12, run=result(598, 12, errors=["lost"]), users="joe --partition=fast")
    holder = Holder("one", 7, 35000.0, True, "", "")
    runs = Pair((record(599, 75), failed, record(590, partitions="default")))
    return of_pair(runs, NOW, host="mx", watcher=STATUS.to_json(36000.0), holders=[holder])


def read(tmp_path: Path, *lines: Any) -> list[Known]:
    path = tmp_path / "mx.json"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return list(reported.read(path))


def test_what_was_printed_is_read_as_it_was(tmp_path: Path) -> None:
    plain = Known("/s", "x:/", "mx", NOW, plain_rsync="--link-dest", plain_since=NOW)
    later = NOW + timedelta(hours=1)
    found = read(tmp_path, full().to_json(NOW), "", plain.to_json(NOW))
    for one, other in zip(found, (full(), plain), strict=True):
        kept, printed = one.to_json(later), other.to_json(later)
        # Of the watcher only what is shown.
        assert {**kept, "watcher": None} == {**printed, "watcher": None}
        assert one.problem(later) == other.problem(later)
    whole = json.loads(json.dumps(STATUS.to_json(36000.0)))
    assert found[0].watcher == {key: whole[key] for key in found[0].watcher or {}}


def test_all_files_of_a_directory(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "c.txt"):
        (tmp_path / name).write_text(json.dumps({**full().to_json(NOW), "host": name}) + "\n")
    assert [one.host for one in reported.read(tmp_path)] == ["a.json", "b.json"]


def test_names_cannot_speak(tmp_path: Path) -> None:
    found = read(tmp_path, {**full().to_json(NOW), "host": "\x1b[31m", "last_error": "a\nb\u202e"})
    assert (found[0].host, found[0].last_error) == ("\\x1b[31m", "a\\x0ab\\u202e")


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    whole = json.loads(json.dumps(full().to_json(NOW)))
    inside = whole
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = to
    return dict(whole)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (changed("host", to=None), "host"),
        (changed("last_success", to="yesterday"), "last_success"),
        (changed("last_success", to="2026-01-01T00:00:00"), "last_success"),
        (changed("last_success", to="9999-12-31T23:59:59+00:00"), "last_success"),
        (changed("last_success", to="0001-01-01T00:00:00+14:00"), "last_success"),
        (changed("seconds", to=float("nan")), "seconds"),
        (changed("seconds", to=10**400), "seconds"),
        (changed("skipped", to=True), "skipped"),
        (changed("skipped", to=-1), "skipped"),
        (changed("partitions", to="default"), "partitions"),
        (changed("runs", 0, "messages", to="7"), "messages"),
        (changed("runs", 0, to=[]), ""),
        (changed("running", 0, "pid", to=1.5), "pid"),
        (changed("watcher", "since", to=1e300), "since"),
        (changed("watcher", "waiting", to=[{}]), "name"),
        (changed("watcher", "waiting", to=[]), "watcher"),
        (changed("watcher", "counts", "delays", to=[1]), "watcher"),
        (changed("watcher", to=[]), "watcher"),
        ({"source": "a", "destination": "b", "host": "c", "plain_rsync": 1, "since": "x"}, "since"),
        ({"errors": ["no run is known"], "exit": 3}, "source"),
        ("[" * 100_000, ""),
        ("7", ""),
        ("{", ""),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), ""),
    ],
)
def test_what_is_none_is_named(tmp_path: Path, line: Any, said: str) -> None:
    with pytest.raises(UnusableError) as caught:
        read(tmp_path, full().to_json(NOW), line)
    assert str(caught.value) == f"{tmp_path}/mx.json: line 2: {said and said + ': '}no line of `cyrsync status --json`"


def test_no_such_file_and_one_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match="No such file"):
        list(reported.read(tmp_path / "none"))
    (tmp_path / "x.json").mkdir()
    with pytest.raises(UnusableError, match=r"x\.json: Is a directory"):
        list(reported.read(tmp_path))


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("1970-01-01T01:00:00+00:00"),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*full().to_json(NOW)]), JSON, st.sampled_from(["page", "mail", "json"]))
def test_whatever_a_key_holds(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any, form: str) -> None:
    """It is refused by name, or shown."""
    from cyrsync.report import overview, page

    forms: dict[str, Callable[[Known], object]] = {
        "page": lambda known: page.page([known], NOW, 60),
        "mail": lambda known: list(overview.mail_lines([known], NOW, 60)),
        "json": lambda known: json.dumps(known.to_json(NOW)),
    }
    try:
        found = read(tmp_path_factory.getbasetemp(), {**full().to_json(NOW), key: value})
    except UnusableError:
        return
    for one in found:
        forms[form](one)
