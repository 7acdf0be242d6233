"""The loop of a watcher, with a sender, a log and a clock that are made up, and a real state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from cyrsync.errors import ConnectionFailed, InterruptedRun, RefusedError, UnusableError
from cyrsync.rolling.log_lines import Lines, parse
from cyrsync.rolling.parts import Parts, Passed
from cyrsync.rolling.plain import Event, Pace, Status
from cyrsync.rolling.taking import LogError
from cyrsync.rolling.watch import Watch
from cyrsync.state.pending import PendingTable, Waiting
from cyrsync.state.state_file import StateFile
from cyrsync.state.store import Store

NOTHING = Passed(0, "", {}, {}, "", 0.0)


@dataclass
class World:
    """Everything around a watcher; time passes only while it waits, and at each step `script` may do something."""

    store: Store
    now: float = 1000.0
    steps: int = 0
    until: float = 0.0
    data: bytes = b""
    taken: bytes = b""
    meanwhile: bytes = b""  # what is logged while the next pass goes on, or a mailbox is sent that takes long
    sent: list[tuple[float, str]] = field(default_factory=list)
    together: list[int] = field(default_factory=list)  # mailboxes
    events: list[Event] = field(default_factory=list)
    published: list[Status] = field(default_factory=list)
    reasons: dict[bytes, str | None] = field(default_factory=dict)  # of mailboxes that cannot be sent
    errors: list[Exception] = field(default_factory=list)  # of the next calls of the sender's
    passed: list[Passed] = field(default_factory=list)  # what the next passes come to
    at: dict[float, Callable[[], None]] = field(default_factory=dict)  # what happens when
    why_blind: str = ""
    log_error: str = ""
    closed: int = 0
    paused: float = 0.0  # seconds, whether there was a log or not
    full: bool = False  # the disk of the state
    unreadable: bool = False  # likewise
    relisted: bool = False  # since the last pass began
    last_for: list[float] = field(default_factory=list)  # seconds, of the next passes
    takes: dict[bytes, float] = field(default_factory=dict)  # seconds for the next time that a mailbox is sent

    @property
    def table(self) -> PendingTable:
        return Table(self, self.store.file)

    # The sender
    def everything(self, between: Callable[[], None]) -> Passed:
        self._call("pass")
        self.relisted = False
        self.data, self.meanwhile = self.data + self.meanwhile, b""
        ends = self.now + (self.last_for.pop(0) if self.last_for else 0.0)
        while self.now < ends:
            self.wait(min(ends - self.now, 0.05))  # a mailbox
            between()
        return self.passed.pop(0) if self.passed else NOTHING

    def mailboxes(self, names: Sequence[bytes]) -> dict[bytes, str | None]:
        self.together.append(len(names))
        for name in names:
            self._call(name.decode())
            if name in self.takes:
                self.now += self.takes.pop(name)
                self.data, self.meanwhile = self.data + self.meanwhile, b""
        return {name: self.reasons.get(name, "") for name in names}

    def files(self, names: Sequence[bytes]) -> dict[bytes, str | None]:
        self._call("files")
        return dict.fromkeys(names, "")

    def look(self) -> None:
        self._call("look")

    def rest(self) -> None:
        self._call("rest")

    def close(self) -> None:
        self.closed += 1

    def _call(self, what: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append((self.now, what))

    # The log
    def take(self) -> Lines | None:
        if self.log_error:
            raise LogError(self.log_error)
        self.taken, self.data = self.taken or self.data, b"" if not self.taken else self.data
        return parse(self.taken) if self.taken else None

    def done(self) -> None:
        self.taken = b""

    # Orders
    @property
    def ends(self) -> bool:
        return self.now >= self.until

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        yield

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        self.steps += 1
        assert self.steps < 100_000, "it spins"
        following = min([self.now + seconds, *(when for when in self.at if when > self.now)])
        self.now = following
        for when in [when for when in self.at if when <= self.now]:
            self.at.pop(when)()

    def pause(self, seconds: float) -> None:
        self.paused += seconds
        self.wait(seconds)

    def logs(self, when: float, data: bytes) -> None:
        def log() -> None:
            self.data += data

        self.at[1000.0 + when] = log

    def fails(self, when: float, *errors: Exception) -> None:
        self.at[1000.0 + when] = lambda: self.errors.extend(errors)

    def run(self, seconds: float, pace: Pace | None = None) -> None:
        self.until = self.now + seconds
        parts = Parts(
            *(self, self, self.table, self, self.wait, self.pause, self.events.append, self.published.append),
            blind=lambda: self.why_blind,
            clock=lambda: self.now,
            luck=lambda: 1.0,
            relisted=lambda: self.relisted,
        )
        Watch(parts, pace or Pace(), "cyrsync", 1).run()

    def times(self, what: str) -> list[float]:
        return [round(when - 1000, 3) for when, one in self.sent if one == what]

    def last(self) -> Status:
        return self.published[-1]

    def waiting(self) -> list[str]:
        return [row.name.decode() for row in PendingTable(self.store.file).all() if row.kind == "mailbox"]


class Table(PendingTable):
    """What waits, on a disk that may be full."""

    def __init__(self, world: World, file: StateFile) -> None:
        super().__init__(file)
        self._world = world

    def add(self, rows: Iterable[Waiting]) -> None:
        self._check()
        super().add(rows)

    def fail(self, rows: Iterable[Waiting]) -> None:
        self._check()
        super().fail(rows)

    def all(self) -> list[Waiting]:
        if self._world.unreadable:
            raise OSError(5, "the state file: disk I/O error")
        return super().all()

    def _check(self) -> None:
        if self._world.full:
            raise OSError(28, "No space left on device", "/state")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Store(tmp_path / "key.sqlite", "pair"))


def test_a_pass_at_the_start_and_then_and_again(world: World) -> None:
    world.run(1300)
    assert world.times("pass") == pytest.approx([0, 600, 1200])
    assert world.last().lag(world.now) == 0


def test_a_mailbox_is_sent_when_the_log_names_it_and_files_follow(world: World) -> None:
    world.logs(10, b"APPEND user.joe\nMAILBOX user.joe\n")
    world.run(20)
    assert world.times("user.joe") == [10]
    assert world.times("files") == [10]
    assert world.times("pass") == [0]
    assert world.last().counts.sent == 1


def test_the_log_is_removed_when_the_state_has_what_it_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a watcher that is killed in between would know nothing of that."""
    known: list[list[str]] = []
    done = world.done

    def seen() -> None:
        known.append(world.waiting())
        done()

    monkeypatch.setattr(world, "done", seen)
    world.logs(10, b"MAILBOX user.joe\n")
    world.run(20)
    assert known == [["user.joe"]]


def test_an_append_waits_for_its_mailbox(world: World) -> None:
    world.logs(10, b"APPEND user.joe\n")
    world.logs(10.02, b"MAILBOX user.joe\n")
    world.logs(20, b"APPEND user.jane\n")  # and one that never comes
    world.run(30)
    assert world.times("user.joe") == [10.02]
    assert world.times("user.jane") == [21]


def test_a_busy_mailbox_is_sent_less_often_than_it_is_named(world: World) -> None:
    for number in range(100):
        world.logs(10 + number / 100, b"MAILBOX user.joe\n")
    world.logs(10.5, b"MAILBOX user.jane\n")
    world.run(20)
    assert len(world.times("user.joe")) <= 6
    assert world.times("user.joe")[-1] >= 10.99
    assert world.times("user.jane") == [10.5]
    assert len(world.times("files")) == 2


def test_once_that_it_took_long_to_send_delays_nothing_later(world: World) -> None:
    """The far end stood still, or a message was large: what came into the same mailbox meanwhile is sent soon."""
    world.takes[b"user.joe"] = 25.0
    world.logs(10, b"MAILBOX user.joe\n")
    world.at[1009.0] = lambda: setattr(world, "meanwhile", b"MAILBOX user.joe\n")
    world.run(100)
    assert world.times("user.joe") == [10, 36]


def test_mailboxes_that_are_due_are_sent_together_and_then_files(world: World) -> None:
    world.logs(10, b"".join(b"MAILBOX user.%d\n" % number for number in range(120)))
    world.run(20)
    assert world.together == [50, 50, 20]
    assert world.times("files") == [10, 10, 15]  # those of 50 mailboxes at once, and of the rest
    assert world.last().pending == 0


def test_what_is_renamed_has_a_pass_follow(world: World) -> None:
    world.logs(10, b"RENAME a b\nMAILBOX a\nMAILBOX b\n")
    world.run(100)
    assert world.times("pass") == [0, 10]
    assert world.times("a") == []
    assert world.waiting() == []


def test_what_is_logged_while_a_pass_goes_on_is_not_taken_for_done(world: World) -> None:
    world.logs(10, b"RENAME a b\nMAILBOX b\n")
    world.at[1009.0] = lambda: setattr(world, "meanwhile", b"MAILBOX b\n")
    world.run(20)
    assert world.times("pass") == [0, 10]
    assert world.times("b") == [10]


def test_what_is_logged_in_a_long_pass_is_sent_in_the_middle_of_it(world: World) -> None:
    world.last_for = [300.0]
    world.logs(100, b"MAILBOX user.joe\n")
    world.logs(200, b"MAILBOX user.joe\nMAILBOX user.jane\n")
    world.run(400)
    assert world.times("pass") == [0]
    assert world.times("user.joe") == pytest.approx([100, 200], abs=1)
    assert world.times("user.jane") == pytest.approx([200], abs=1)
    assert world.last().counts.sent == 3
    assert (world.last().pending, world.last().lag(world.now)) == (0, 0)


def test_what_waited_before_a_long_pass_is_sent_at_its_beginning(world: World) -> None:
    """Its turn may be the last. What is logged meanwhile does not wait for all that, and each is counted once."""
    names = [b"user.%03d" % number for number in range(500)]
    world.table.add(Waiting("mailbox", name, 900.0) for name in names)
    world.last_for = [100.0]
    for number in range(10):
        world.takes[names[50 * number]] = 1.0
    world.logs(2, b"MAILBOX user.joe\nMAILBOX user.499\n")
    world.run(200)
    assert world.times("user.joe")[0] < 10 < world.times("user.498")[0]
    assert len(world.times("user.499")) == 1
    assert sorted({name for _, name in world.sent if name.startswith("user.")})[:500] == list(map(bytes.decode, names))
    assert world.waiting() == []
    assert world.last().counts.sent == 501


def test_a_short_pass_does_what_waits_itself(world: World) -> None:
    world.table.add([Waiting("mailbox", b"user.joe", 900.0)])
    world.last_for = [0.1]
    world.run(20)
    assert world.times("user.joe") == []
    assert (world.waiting(), world.last().counts.sent) == ([], 1)


@pytest.mark.parametrize("reason", ["Input/output error", None])
def test_what_is_logged_in_a_long_pass_and_cannot_be_sent_then_is_not_done_when_it_ends(
    world: World, reason: str | None
) -> None:
    """Though it waited already when the pass began: that may have been at the mailbox before it changed again."""
    world.table.add([Waiting("mailbox", b"user.joe", 900.0)])
    world.last_for = [100.0]
    world.reasons[b"user.joe"] = reason
    world.logs(50, b"MAILBOX user.joe\n")
    world.at[1099.0] = world.reasons.clear
    world.run(200)
    tried = world.times("user.joe")
    assert [when for when in tried if when == pytest.approx(50, abs=1)]
    assert tried[-1] >= 100
    assert world.waiting() == []
    oldest = {round(one.oldest) for one in world.published if one.written >= 1100}
    assert min(oldest - {0}) == 1050  # the change before is on the replica


def test_what_is_logged_in_a_long_pass_too_late_to_be_sent_then_is_sent_after_it(world: World) -> None:
    world.last_for = [100.0]
    world.logs(50, b"MAILBOX user.joe\n")
    world.at[1049.0] = lambda: setattr(world, "meanwhile", b"MAILBOX user.joe\n")
    world.takes[b"user.joe"] = 60.0
    world.run(200)
    assert world.times("user.joe") == pytest.approx([50, 111], abs=2)
    assert world.waiting() == []


def test_a_doubt_in_a_long_pass_has_another_one_follow(world: World) -> None:
    world.last_for = [100.0]
    world.logs(50, b"APPEMAILBOX user.joe\n")
    world.run(200)
    assert world.times("pass") == [0, 100]


def test_a_long_pass_that_is_broken_off_loses_nothing_of_what_was_logged(world: World) -> None:
    world.last_for = [100.0]
    world.reasons[b"user.joe"] = "Input/output error"
    world.logs(50, b"MAILBOX user.joe\nMAILBOX user.jane\nUNMAILBOX user.jim\n")
    world.fails(60, InterruptedRun("SIGTERM"))
    world.logs(61, b"MAILBOX user.jill\n")
    world.run(200)
    assert world.times("user.jane") == pytest.approx([50], abs=1)
    assert world.waiting() == ["user.joe", "user.jill"]
    assert [row for row in world.table.all() if row.kind == "all"]


def test_a_connection_lost_in_a_long_pass_leaves_what_was_logged_for_the_next_one(world: World) -> None:
    world.last_for = [100.0]
    world.fails(50, ConnectionFailed("gone"))
    world.logs(50.5, b"MAILBOX user.joe\n")
    world.run(200)
    assert world.times("pass") == pytest.approx([0, 51.5], abs=1)
    assert world.waiting() == []


def test_what_a_pass_has_sent_in_between_was_not_missed_by_the_log(world: World) -> None:
    world.last_for = [1.0, 100.0]
    world.passed = [NOTHING, NOTHING._replace(changed={b"user.joe": True, b"user.jane": True})]
    world.logs(620, b"MAILBOX user.joe\n")
    world.run(800)
    assert world.times("user.joe") == pytest.approx([620], abs=1)
    assert world.last().counts.log_missed == 1


def test_a_busy_server_leaves_a_long_pass_most_of_the_time(world: World) -> None:
    world.last_for = [100.0]
    for number in range(1000):
        name = b"user.%d" % number
        world.takes[name] = 0.5
        world.logs(number / 10, b"MAILBOX %s\n" % name)
    began: list[float] = []
    mailboxes = world.mailboxes

    def noted(names: Sequence[bytes]) -> dict[bytes, str | None]:
        began.append(world.now)
        for name in names[1:]:
            world.takes.pop(name, None)  # together they cost what one does
        return mailboxes(names)

    world.mailboxes = noted  # type: ignore[method-assign]
    world.run(100)
    assert min(two - one for one, two in pairwise(began[:-3])) >= 1.5
    assert len(began) >= 40


def test_renames_all_the_time_do_not_cost_passes_all_the_time(world: World) -> None:
    for number in range(1000):
        world.logs(10 + number / 100, b"UNMAILBOX a\n")
    world.run(30)
    assert 10 <= len(world.times("pass")) <= 13


def test_one_slow_pass_does_not_delay_the_next_ones(world: World) -> None:
    """The first one after the machine has started, or one beside a backup."""
    slow = NOTHING._replace(seconds=20.0)
    world.passed = [slow, NOTHING, slow, NOTHING, NOTHING, slow, slow]
    for when in (10, 20, 30, 40, 50, 60, 70):
        world.logs(when, b"UNMAILBOX a\n")
    world.run(300)
    assert world.times("pass") == [0, 10, 20, 30, 40, 50, 60, 260]


def test_a_line_that_is_not_believed_has_a_pass_follow(world: World) -> None:
    world.logs(10, b"APPEMAILBOX user.joe\n")
    world.run(20)
    assert world.times("pass") == [0, 10]
    assert any("APPEMAILBOX" in event.text for event in world.events)


def test_a_mailbox_that_is_not_known_has_a_pass_follow(world: World) -> None:
    world.reasons[b"user.new"] = None
    world.logs(10, b"MAILBOX user.new\n")
    world.run(20)
    assert world.times("pass") == [0, 10]
    assert world.waiting() == []


def test_another_list_of_mailboxes_has_a_pass_follow(world: World) -> None:
    """Not at once: what is logged of it may come a moment later, and was not missed then."""
    world.at[1010.0] = lambda: setattr(world, "relisted", True)
    world.logs(10.5, b"MAILBOX user.new\n")
    world.reasons[b"user.new"] = None
    world.passed = [NOTHING, NOTHING._replace(changed={b"user.new": False})]
    world.run(100)
    assert world.times("pass") == [0, 10.5]
    assert world.last().counts.log_missed == 0


def test_another_list_of_mailboxes_that_nobody_logs_is_counted(world: World) -> None:
    for when in (10, 10.2, 10.4, 300):
        world.at[1000.0 + when] = lambda: setattr(world, "relisted", True)
    world.passed = [NOTHING, NOTHING._replace(changed={b"user.new": False})]
    world.run(400)
    assert world.times("pass") == [0, 11, 301]
    assert world.last().counts.log_missed == 1


def test_lists_of_mailboxes_that_change_all_the_time_do_not_cost_passes_all_the_time(world: World) -> None:
    for number in range(1000):
        world.at[1010.0 + number / 100] = lambda: setattr(world, "relisted", True)
    world.passed = [NOTHING._replace(seconds=0.4)] * 100
    world.run(30)
    assert world.times("pass") == [0, 11, 15, 19, 23]


def test_a_failure_belongs_to_its_mailbox(world: World) -> None:
    world.reasons[b"user.joe"] = "Input/output error"
    world.logs(10, b"MAILBOX user.joe\nMAILBOX user.jane\n")
    world.run(75)
    assert world.times("user.jane") == [10]
    assert world.times("user.joe") == [10, 11, 13, 17, 25, 41, 73]
    (late,) = world.last().waiting
    assert (late.name, late.reason, late.tries) == ("user.joe", "Input/output error", 7)
    assert world.last().lag(1075) == pytest.approx(65)
    assert [event.text for event in world.events if event.kind == "failure"] == ["user.joe: Input/output error"]


def test_what_a_pass_could_not_do_is_tried_again(world: World) -> None:
    world.passed = [Passed(23, "", {b"user.joe": "damaged"}, {}, "", 0.0)]
    world.run(20)
    assert world.times("user.joe") == [1]
    assert world.last().waiting == []


def test_a_pass_that_fails_is_tried_again(world: World) -> None:
    world.passed = [Passed(23, "mailboxes.db: damaged", {}, {}, "", 0.0)] * 3
    world.logs(0.5, b"MAILBOX user.joe\n")
    world.run(20)
    assert world.times("pass") == [0, 1, 3, 7]
    assert world.times("user.joe") == [0.5]


def test_what_a_pass_with_errors_did_not_send_waits_still(world: World) -> None:
    world.reasons = {b"user.joe": "locked", b"user.jane": "locked", b"user.jim": "locked"}
    world.logs(10, b"MAILBOX user.joe\nMAILBOX user.jane\nMAILBOX user.jim\n")
    world.run(12)
    kept = Passed(11, "No space left", {b"user.joe": "No space left"}, {}, "", 0.0, frozenset({b"user.jane"}))
    world.passed = [kept]
    world.at[1012.001] = lambda: None
    world.run(0.5)
    assert world.waiting() == ["user.jane", "user.joe"]
    assert world.last().counts.sent == 1
    assert world.last().lag(1012) == 2


def test_an_error_that_lasts_delays_nothing_but_its_own_retries(world: World) -> None:
    world.passed = [Passed(23, "mailboxes.db: damaged", {}, {}, "", 0.0)] * 100
    world.logs(100, b"RENAME a b\nMAILBOX a\nMAILBOX b\n")
    world.reasons[b"user.new"] = None
    world.logs(200, b"MAILBOX user.new\n")
    world.run(210)
    assert world.times("pass") == [0, 1, 3, 7, 15, 31, 63, 100, 200]


def test_an_error_that_lasts_where_the_log_does_not_tell(world: World) -> None:
    world.passed = [Passed(23, "mailboxes.db: damaged", {}, {}, "", 0.0)] * 100
    world.why_blind = "imapd.conf has no channel cyrsync"
    world.run(60)
    assert world.times("pass") == [0, 1, 3, 7, 15, 25, 35, 45, 55]


def test_a_lost_connection_is_tried_again_and_nothing_is_lost(world: World) -> None:
    lost = [ConnectionFailed("hung up") for _ in range(10)]
    world.fails(9, *lost)
    world.logs(10, b"MAILBOX user.joe\n")
    world.logs(12, b"MAILBOX user.jane\n")
    world.at[1100.0] = lambda: None
    world.run(2000)
    # 1, 2, 4, 8, 16, 32 and then 60 seconds after the last try.
    assert world.times("pass")[:2] == [0, 10 + 63 + 4 * 60]
    assert world.waiting() == []
    assert [event.text for event in world.events if event.kind == "connection"] == ["connected", "hung up", "connected"]
    away = [status for status in world.published if 1020 < status.written < 1300]
    assert all(not status.connected and status.pending == 2 for status in away)
    assert away[-1].lag(away[-1].written) > 250
    assert world.last().connected


def test_without_a_connection_the_replica_is_behind_since_its_loss(world: World) -> None:
    world.fails(29, *[ConnectionFailed("hung up") for _ in range(10)])
    world.run(100)
    assert not world.last().connected
    assert 60 < world.last().lag(1100) <= 70


def test_before_the_first_pass_the_replica_is_behind_since_the_start(world: World) -> None:
    world.errors = [ConnectionFailed("refused") for _ in range(10)]
    world.run(100)
    assert world.last().lag(1100) == pytest.approx(100, abs=1)


def test_where_the_log_does_not_tell_the_replica_is_behind_since_the_last_pass_that_did_all(world: World) -> None:
    world.why_blind = "imapd.conf has no channel cyrsync"
    world.run(19, Pace(status=1.0))
    assert 8 <= max(status.lag(status.written) for status in world.published) <= 10
    world.passed = [Passed(23, "mailboxes.db: damaged", {}, {}, "", 0.0)] * 100
    world.run(50)
    assert world.last().lag(world.now) > 49


def test_the_replica_is_not_there_for_a_while(world: World) -> None:
    world.fails(9, UnusableError("is its disk mounted?"), OSError(28, "No space left on device", "/state"))
    world.logs(10, b"MAILBOX user.joe\n")
    world.run(20)
    assert world.times("pass") == [0, 13]


def test_a_replica_that_is_another_s_ends_it(world: World) -> None:
    world.fails(9, RefusedError("promoted"))
    world.logs(10, b"MAILBOX user.joe\n")
    with pytest.raises(RefusedError):
        world.run(20)
    assert world.closed
    assert world.waiting() == ["user.joe"]


def test_it_is_broken_off(world: World) -> None:
    world.fails(9, InterruptedRun("SIGTERM"))
    world.logs(10, b"MAILBOX user.joe\n")
    world.run(20)
    assert world.now == 1010
    assert world.waiting() == ["user.joe"]


def test_the_replica_is_let_go_of_without_work_and_now_and_then(world: World) -> None:
    world.logs(10, b"MAILBOX user.joe\n")
    world.run(14)
    assert world.times("rest") == [10.5]
    for number in range(200):
        world.logs(20 + number / 10, b"MAILBOX user.%d\n" % number)
    world.run(30)
    rests = world.times("rest")
    assert max(later - sooner for sooner, later in pairwise(rests[1:])) < 6


def test_without_work_the_replica_is_looked_at(world: World) -> None:
    world.run(100)
    assert world.times("look") == pytest.approx([30, 60, 90])


def test_a_log_that_does_not_tell(world: World) -> None:
    world.why_blind = "imapd.conf has no channel cyrsync"
    world.run(35)
    assert world.times("pass") == pytest.approx([0, 10, 20, 30])
    assert [event.text for event in world.events if event.kind == "log"] == [
        "imapd.conf has no channel cyrsync: all mailboxes are looked at every 10 s"
    ]
    assert world.last().blind == "imapd.conf has no channel cyrsync"


def test_a_log_that_tells_all_again(world: World) -> None:
    """What was not logged since the last pass is found by one more; and it is told, also the next time."""
    full = "/conf/sync/cyrsync: there is no room left for the log"

    def has_room(why: str) -> None:
        world.why_blind = why

    world.at = {1010.0: lambda: has_room(full), 1023.0: lambda: has_room(""), 1100.0: lambda: has_room(full)}
    world.run(109)
    assert world.times("pass") == pytest.approx([0, 10, 20, 23, 100])
    assert [event.text for event in world.events if event.kind == "log"] == [
        f"{full}: all mailboxes are looked at every 10 s",
        f"no longer: {full}",
        f"{full}: all mailboxes are looked at every 10 s",
    ]


def test_what_is_not_believed_again_and_again_is_told_once(world: World) -> None:
    for number in range(1000):
        world.logs(10 + number / 100, b"NEWWORD\n")
    world.run(30)
    assert 10 <= len(world.times("pass")) <= 13
    assert len([event for event in world.events if event.kind == "log"]) == 1


def test_a_log_that_cannot_be_taken(world: World) -> None:
    world.log_error = "/conf/sync/cyrsync/log: Permission denied"
    world.run(35)
    assert len(world.times("pass")) == 4
    assert len([event for event in world.events if event.kind == "log"]) == 1
    assert world.paused > 30  # not until there is a log: there is one


def test_a_state_that_cannot_be_written_for_a_while(world: World) -> None:
    world.at[1009.0] = lambda: setattr(world, "full", True)
    world.logs(10, b"MAILBOX user.joe\n")
    world.at[1100.0] = lambda: setattr(world, "full", False)
    world.run(200)
    assert world.waiting() == []
    assert len(world.times("pass")) == 2
    assert world.steps < 1000


def test_a_state_that_cannot_be_read_for_a_while(world: World) -> None:
    world.logs(10, b"MAILBOX user.joe\n")
    world.at[1009.0] = lambda: setattr(world, "unreadable", True)
    world.at[1030.0] = lambda: setattr(world, "unreadable", False)
    world.run(60)
    assert world.times("user.joe") == [10]
    assert world.last().written > 1030


def test_a_clock_that_is_set_back(world: World) -> None:
    def set_back() -> None:
        world.now = 500.0
        world.reasons.clear()
        world.at[510.0] = lambda: setattr(world, "data", b"MAILBOX user.jane\n")

    world.reasons[b"user.joe"] = "locked"
    world.logs(10, b"MAILBOX user.joe\nMAILBOX user.jane\n")
    world.at[1020.0] = set_back
    world.run(25)
    assert world.waiting() == []
    assert {what for when, what in world.sent if 500 <= when < 515} >= {"user.joe", "user.jane"}


def test_what_the_log_did_not_name_is_counted_and_told_once_per_kind(world: World) -> None:
    quiet = {b"user.a": True, b"user.b": True}
    world.passed = [
        NOTHING,
        Passed(0, "", {}, quiet, "sent", 0.0),
        Passed(0, "", {}, {**quiet, b"user.new": False}, "", 0.0),
    ]
    world.run(1300)
    assert world.last().counts.log_missed == 5
    told = [event.text for event in world.events if event.kind == "log"]
    assert len(told) == 2
    assert "2 mailboxes have changed and were not logged (first user.a)" in told[0]
    assert "did users arrive by replication?" in told[1]


def test_what_a_first_pass_finds_was_not_missed(world: World) -> None:
    world.passed = [Passed(0, "", {}, {b"user.a": True}, "", 0.0)]
    world.run(30)
    assert world.last().counts.log_missed == 0


def test_a_killed_watcher_s_work_is_the_next_one_s(world: World) -> None:
    world.reasons[b"user.joe"] = "locked"
    world.logs(10, b"MAILBOX user.joe\n")
    world.run(12)
    world.reasons.clear()
    world.passed = [Passed(0, "", {}, {}, "", 0.0)]
    before = world.last().counts.sent
    world.run(12)
    assert (before, world.last().counts.sent, world.waiting()) == (0, 1, [])


def test_status_as_a_line_and_as_json(world: World) -> None:
    world.reasons[b"user.joe"] = "locked"
    world.logs(10, b"MAILBOX user.joe\n")
    world.run(12)
    status = world.last()
    assert status.line(status.oldest + 2) == "2.0 s behind, 1 pending, 1 failed, connected"
    assert status.to_json(status.oldest + 2)["lag_seconds"] == 2


def test_all_failures_are_counted_and_not_all_are_named(world: World) -> None:
    names = [b"user.%03d" % number for number in range(120)]
    world.reasons.update(dict.fromkeys(names, "locked"))
    world.logs(10, b"".join(b"MAILBOX %s\n" % name for name in names))
    world.run(20)
    status = world.last()
    assert "120 pending, 120 failed" in status.line(status.written)
    found = status.to_json(status.written)
    assert (found["failed"], len(found["waiting"])) == (120, 100)


def test_what_waits_is_named_before_it_is_tried_and_failures_first(world: World) -> None:
    world.reasons[b"user.joe"] = "locked"
    world.logs(10, b"MAILBOX user.ann\nMAILBOX user.joe\n")
    world.fails(11, *[ConnectionFailed("hung up")] * 9)
    world.logs(12, b"MAILBOX user.jane\nRENAME a b\n")
    world.run(20)
    named = [(late.name, late.since - 1000, late.tries > 0) for late in world.last().waiting]
    assert [one for one in named if one[0].startswith("user.")] == [("user.joe", 10, True), ("user.jane", 12, False)]
