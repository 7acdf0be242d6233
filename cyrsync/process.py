"""The one place that starts processes.

`sh` runs the rsyncs that transfer, with files for their output. What `sh` is slow at does without it: listings through
plain pipes, and questions at start-up.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

from cyrsync.errors import ConnectionFailed, Exit, UnusableError
from cyrsync.far.at_work import command_line, processes

if TYPE_CHECKING:
    import sh

Started = TypeVar("Started")

#: Where administrators' programs are, as runuser and sendmail: cron's PATH lacks them, and so do those of many users.
ADMINISTRATORS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
#: An environment variable with the paths of the rsyncs that were started by us, one calling the other.
STARTED_RSYNCS = "CYRSYNC_STARTED_RSYNCS"
#: Signals that were not ignored when we started, as nohup has them ignored.
_HEEDED = tuple(
    number
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if signal.getsignal(number) is not signal.SIG_IGN
)
_PR_SET_PDEATHSIG = 1  # prctl(2)
_ANY_CODE = list(range(-64, 256))
_GRACE = 10.0  # seconds between asking a process to end and making it
#: Bytes that a process may have said before we listen; also the most that Linux grants by default.
_PIPE_SIZE = 1 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.25  # seconds between two looks at a running process
#: As a share of the time that it has run: a copy of hours does not need us a hundred times a second.
_PAUSE_SHARE = 0.02
_WATCH_PAUSE = 1.0  # seconds between two looks at what a command does
_ORPHANS_PAUSE = 0.02  # seconds between two looks at all processes
#: Descriptors that the processes of `run` have, too.
_shared: tuple[int, ...] = ()


#: Bytes that are kept of a command's output; a listing is not kept here.
_MOST_SAID = 64 << 20


class TooMuchError(ValueError):
    """A command has written more than can be right."""


class Finished(NamedTuple):
    """How a command ended: its code (negative: the signal), and what it wrote."""

    code: int
    out: bytes
    err: bytes


def share(descriptors: Iterable[int]) -> None:
    """Let all processes that are started from now on inherit these descriptors: if we are killed, their locks last."""
    global _shared
    _shared = tuple(descriptors)
    for descriptor in _shared:
        os.set_inheritable(descriptor, True)


def search_path() -> list[str]:
    """Return the directories to look for programs in: those of PATH, then those of administrators' programs."""
    return list(dict.fromkeys([*os.get_exec_path(), *ADMINISTRATORS]))


def program(name: str) -> str:
    """Return the path of a program in `search_path`. Raise UnusableError when there is none.

    An rsync that has called `cyrsync rsync` is a wrapper: the next one in PATH is meant then.
    """
    wrappers = os.environ.get(STARTED_RSYNCS, "").split(os.pathsep) if name == "rsync" else []
    if not any(wrappers):
        found = shutil.which(name, path=os.pathsep.join(search_path()))
        if found is None:
            raise UnusableError(f"{name} is not installed, or not in PATH")
        return found
    for directory in search_path():
        found = shutil.which(name, path=directory)
        if found and found not in wrappers:
            return found
    if not _is_script(wrappers[-1]):
        return wrappers[-1]  # rsync itself: a command that it ran has called us
    raise UnusableError(
        f"{wrappers[-1]} calls cyrsync, and no other rsync is in PATH: add the directory of rsync to PATH"
    )


def _is_script(path: str) -> bool:
    with open(path, "rb") as stream:
        return stream.read(2) == b"#!"


def environment() -> dict[str, str]:
    """Return the environment for programs whose messages are read: in English, times in UTC."""
    return {**_environ(), "LC_ALL": "C", "TZ": "UTC"}


def _environ() -> dict[str, str]:
    """Return our environment, in which programs that we start find what we find."""
    return {**os.environ, "PATH": os.pathsep.join(search_path())}


def environment_of(found: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` for the program `found`, which may be a wrapper of rsync's name that calls `cyrsync rsync`."""
    if os.path.basename(found) != "rsync":
        return dict(env)
    return {**env, STARTED_RSYNCS: os.pathsep.join(filter(None, (env.get(STARTED_RSYNCS), found)))}


def capture(
    words: Sequence[str],
    seconds: float = 0.0,
    take: Callable[[bytes], None] | None = None,
    watch: Callable[[], None] | None = None,
) -> Finished:
    """Run a command to its end and return what it wrote; `take`, if given, receives its standard output instead.

    `watch` is called every second. An error of either ends the command.

    Raise ConnectionFailed after `seconds`, TooMuchError if it writes too much.
    """
    found = program(words[0])
    with subprocess.Popen(
        [found, *map(os.fsencode, words[1:])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment_of(found, environment()),
    ) as running:
        try:
            out, err = _listen(running, take, time.monotonic() + seconds if seconds else math.inf, watch)
        except TimeoutError:
            running.kill()
            raise ConnectionFailed(f"{words[0]}: no answer within {seconds:.0f} seconds", Exit.TIMEOUT) from None
        except BaseException:
            running.kill()
            raise
    return Finished(running.returncode, bytes(out), bytes(err))


def _listen(
    running: subprocess.Popen[bytes],
    take: Callable[[bytes], None] | None,
    deadline: float,
    watch: Callable[[], None] | None,
) -> tuple[bytearray, bytearray]:
    """Return what a process writes, to its end. Raise TimeoutError after the deadline, TooMuchError."""
    assert running.stdout and running.stderr
    out, err = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(running.stdout, selectors.EVENT_READ, take or out.extend)
        selector.register(running.stderr, selectors.EVENT_READ, err.extend)
        look_again = time.monotonic() + _WATCH_PAUSE if watch else math.inf
        while selector.get_map():
            ready = selector.select(_until(min(deadline, look_again)))
            now = time.monotonic()
            if watch and now >= look_again:
                watch()
                look_again = now + _WATCH_PAUSE
            if not ready and now >= deadline:
                raise TimeoutError
            for key, _ in ready:
                data = os.read(key.fd, _PIPE_SIZE)
                if data:
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
            if max(len(out), len(err)) > _MOST_SAID:
                raise TooMuchError(f"more than {_MOST_SAID} bytes were said")
    try:
        running.wait(_until(deadline))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return out, err


def _until(deadline: float) -> float | None:
    """Return how many seconds are left, None for any number."""
    return None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())


def run(
    words: Sequence[str],
    out: IO[bytes] | None,
    err: IO[bytes] | None,
    tick: Callable[[], None] | None = None,
    env: dict[str, str] | None = None,
) -> int:
    """Run a command to its end and return its code; `tick` is called a few times a second meanwhile.

    It ends with us: an exception here (a signal is one) stops it, and so does our own sudden death.
    With None, its output is written where ours is.
    """
    with _forked(lambda: _start(words, out, err, env or environment()), _stop) as running:
        began = time.monotonic()
        while not _has_ended(running.pid):
            if tick:
                tick()
            time.sleep(min(max(_FIRST_PAUSE, (time.monotonic() - began) * _PAUSE_SHARE), _LONGEST_PAUSE))
    running.wait()
    return int(running.exit_code)


def attached(words: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command that has our own input and output, and return its code. It ends with us, as in `run`."""

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*map(os.fsencode, words)],
            env=env,
            pass_fds=_shared,
            preexec_fn=_leash(),
        )

    with _forked(start, lambda child: _end(child, signal.SIGTERM)) as running:
        code = running.wait()
    return code if code >= 0 else 128 - code


def hook(command: str, text: str, environment: Mapping[str, str]) -> int:
    """Run a user's command by the shell, with `text` on its standard input, and return its code.

    It has our environment, and more.

    Its output is printed on standard error.
    """

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=2,
            preexec_fn=_heed_signals,
            env={**_environ(), **environment},
        )

    with _forked(start, lambda child: _end(child, signal.SIGKILL)) as running:
        running.communicate(text.encode())
    return running.returncode


def open_pipes(words: Sequence[str], err: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a process that is talked to through plain pipes on its standard input and output."""
    arguments: list[str | bytes] = [program(words[0]), *map(os.fsencode, words[1:])]
    started = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err)
    for pipe in (started.stdin, started.stdout):
        assert pipe
        with contextlib.suppress(OSError):  # the system may have handed out all the room that it grants a user
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    return started


@contextlib.contextmanager
def _forked(start: Callable[[], Started], stop: Callable[[Started], None]) -> Iterator[Started]:
    """Give the process that `start` has forked; if an exception (a signal is one) ends the block, `stop` it.

    Signals wait until there is a process to stop. The child heeds them when it has no handlers of ours any more, see
    `_heed_signals`: ours would raise in a copy of this program. `subprocess` does without a fork where it is given
    nothing to do in the child, and sees to that itself.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
        running = start()
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield running
    except BaseException:
        stop(running)
        raise


def _start(
    words: Sequence[str], out: IO[bytes] | None, err: IO[bytes] | None, env: dict[str, str]
) -> sh.RunningCommand:
    import sh

    # Output is written to files or to our own: sh makes no terminal for those, and refuses _tty_out beside one.
    # sh encodes what it is given: Latin-1 takes every byte of a name through unchanged.
    arguments = [os.fsencode(word).decode("latin-1") for word in words[1:]]
    found = program(words[0])
    with open(os.devnull, "rb") as nothing:
        return sh.Command(found)(
            *arguments,
            _in=nothing,
            _out=out if out is not None else 1,
            _err=err if err is not None else 2,
            _encoding="latin-1",
            _env=environment_of(found, env),
            _bg=True,
            _bg_exc=False,
            _ok_code=_ANY_CODE,
            _return_cmd=True,
            _pass_fds={*_shared},
            _preexec_fn=_leash(),
        )


def _stop(running: sh.RunningCommand) -> None:
    """Ask the process to end, so that rsync clears its temporary files; insist if it does not."""
    deadline = time.monotonic() + _GRACE
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            running.signal(number)
        except ProcessLookupError:
            pass
        while not _has_ended(running.pid) and time.monotonic() < deadline:
            time.sleep(_FIRST_PAUSE)
    running.wait()


def _has_ended(pid: int) -> bool:
    """Tell whether a child has ended, and leave its exit code to who waits for it.

    sh is not asked: it takes a lock for that, and a signal that came right then would leave it locked for ever.
    """
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _end(running: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with running:  # it waits for the end
        running.send_signal(number)


def await_orphans(*words: str) -> None:
    """Wait, but not for ever, until no process is left that was given a word that begins so.

    An rsync whose parent was killed takes half a second to end (it spares ssh's terminal), and moves files meanwhile.
    """
    marks = tuple(map(os.fsencode, words))
    deadline = time.monotonic() + _GRACE
    while any(_has_one(command_line(pid), marks) for pid in processes()) and time.monotonic() < deadline:
        time.sleep(_ORPHANS_PAUSE)


def _has_one(words: list[bytes], marks: tuple[bytes, ...]) -> bool:
    return any(word.startswith(marks) for word in words[1:])


def _heed_signals() -> None:
    """Let signals end a child: we may ignore them after the first one, and block them while we fork."""
    for number in _HEEDED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEEDED)


def _leash() -> Callable[[], None]:
    """Return what a child does first; no library is loaded after the fork, where a thread may have held its lock."""
    import ctypes  # what few runs need is not loaded by all

    return partial(_die_with_parent, ctypes.CDLL(None).prctl, os.getpid())


def _die_with_parent(prctl: Callable[[int, int], int], parent: int) -> None:
    """Have the kernel end this child when its parent is killed: a lone rsync must not race the next run's."""
    _heed_signals()
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # killed before it was asked for
        os._exit(128 + signal.SIGTERM)
