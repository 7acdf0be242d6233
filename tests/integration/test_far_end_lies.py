"""A far end in other hands: it answers as it likes, and reaches nothing beyond what it was asked for."""

from __future__ import annotations

import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import cyrsync
import samplespool
from support.daemon import RsyncDaemon
from support.tools import executable, which, write_program
from support.tree import Entry, cyrsync_argv, plain_env, run_cyrsync, snapshot

#: What `-e` leads to: a real agent that lies in one respect. All else, rsync too, is what it should be.
FAR_END = """\
#!{python}
import os, sys
command = " ".join(sys.argv[2:])  # behind the host
if "cyrsync-python" not in command:
    os.execv("/bin/sh", ["sh", "-c", command])
sys.path.insert(0, {checkout!r})
print("cyrsync-python", flush=True)
sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
import json, stat, zlib
from cyrsync.far import agent, folder, locked_folder, relink
from cyrsync.far.folder import Entry
from cyrsync.far.message_files import MessageFiles
agent._SERVICES["load"] = lambda request: (request.source.read(request.fields["size"]), request.output.end())
def answer(name, data, **end):
    def serve(request):
        if name == "remove":
            list(agent.decode(request.source))
        request.output.write(data)
        request.output.end(**end)
    agent._SERVICES[name] = serve
def raw(data):
    sys.stdout.buffer.write(agent.GREETING + data)
    sys.stdout.buffer.flush()
    os.close(1)
    sys.stdin.buffer.read()  # whoever still speaks to it is not cut off
    os._exit(0)
def listed(change):
    real = folder.encode
    folder.encode = lambda found, compressible=True: real(change(found), compressible)
def taken(change):
    real = locked_folder.encode
    locked_folder.encode = lambda found, compressible: real(change(found), compressible)
OUTSIDE = {outside!r}
{lie}
agent.main(compressed=True)
"""

FILE = "Entry(stat.S_IFREG | 0o644, 4, 0, '0:0::', '')"
#: Each a lie that Python tells, by name.
LIES = {
    "a file with a whole path": "taken(lambda t: t._replace(files=[t.files[0]._replace(name=OUTSIDE + b'/x')]))",
    "a file in another folder": "taken(lambda t: t._replace(files=[t.files[0]._replace(name=b'../../../../out/x')]))",
    "a file that is not taken": "taken(lambda t: t._replace(files=[t.files[0]._replace(name=b'.cyrsync-replica')]))",
    "a file that lends rights": f"taken(lambda t: t._replace(files=[t.files[0]._replace(entry={FILE}"
    "._replace(mode=stat.S_IFREG | 0o4755))]))",
    "a device": f"taken(lambda t: t._replace(files=[t.files[0]._replace(entry={FILE}"
    "._replace(mode=stat.S_IFBLK | 0o644))]))",
    "directories that lead elsewhere": "taken(lambda t: t._replace(above=[(OUTSIDE, e) for _, e in t.above]))",
    "directories that lead up": "taken(lambda t: t._replace(above=[(b'../../out', e) for _, e in t.above]))",
    "another folder than asked for": "taken(lambda t: t._replace(folder=t.folder._replace(path=b'../out')))",
    "an owner that is none": f"taken(lambda t: t._replace(files=[t.files[0]._replace(entry={FILE}"
    "._replace(owner='x:0::'))]))",
    "a folder outside": "listed(lambda f: f._replace(path=b'../out') if f.path.endswith(b'Sent') else f)",
    "a whole path of a folder": "listed(lambda f: f._replace(path=OUTSIDE) if f.path.endswith(b'Sent') else f)",
    "the name of a folder outside": "listed(lambda f: f._replace(folders=(b'../../../out', *f.folders)))",
    "a name with a slash": "listed(lambda f: f._replace(other_files={b'a/../../out/x': None}))",
    "the owner file": f"listed(lambda f: f._replace(other_files={{b'.cyrsync-replica': {FILE}}}))",
    "metadata that is none": "listed(lambda f: f._replace(metadata={b'..': None}))",
    "a message that is none": "listed(lambda f: f._replace(messages=MessageFiles.of(f.messages.uids, (b'../x',))))",
    "a folder that never comes": "listed(lambda f: f._replace(folders=(*f.folders, b'zzz')))",
    "a folder twice": "listed(lambda f: f._replace(folders=f.folders + f.folders[-1:]))",
    "a number past all bounds": "listed(lambda f: f._replace(attributes=f.attributes._replace(mtime=10**30)))",
    "a number that is true": "listed(lambda f: f._replace(attributes=f.attributes._replace(size=True)))",
    "no whole path": "answer('resolve', b'')",
    "a path that is a number": 'answer(\'resolve\', b\'{"end": true, "root": 7, "status": []}\\n\')',
    "lists without a bottom": "answer('walk', b'[' * 100_000 + b'\\n')",
    "not JSON": "answer('walk', b'{]\\n')",
    "not ASCII": "answer('walk', b'\"\\xff\\xfe\"\\n')",
    "more digits than a number has": "answer('walk', b'[' + b'1' * 100_000 + b']\\n')",
    "no compressed data": "raw(b'hello\\n' * 100)",
    "an end in the middle": "raw(zlib.compress(b'{\"end\": tr'))",
    "more bytes than a folder has": "answer('walk', b'[\"\",0,null,[1,' + b'9' * 15 + b'],[],{},{},[],null,[]]\\n')",
}
#: The lies that cut off what is said: a lost connection, which is tried again unless told otherwise.
CUT_OFF = {"an end in the middle", "a greeting"}


class Case:
    """A source at the far end, its replica here, and a directory that neither has to do with."""

    def __init__(self, directory: Path) -> None:
        self.outside = directory / "out"
        self.outside.mkdir()
        (self.outside / "cyrus.header").write_bytes(b"somebody else's")
        self.source = directory / "deep/er/source"
        self.replica = directory / "replica"
        self.far_end = directory / "far end"
        samplespool.make(self.source, messages=30, folder_count=4)

    def lie(self, lie: str) -> list[str]:
        """The words for a run whose far end tells this lie."""
        checkout = str(Path(cyrsync.__file__).parent.parent)
        text = FAR_END.format(python=sys.executable, checkout=checkout, outside=bytes(self.outside), lie=lie)
        executable(self.far_end, text)
        return ["--delete", "--retries", "0", "-e", f"'{self.far_end}'"]

    def pull(self, lie: str) -> subprocess.CompletedProcess[str]:
        return run_cyrsync("sync", *self.lie(lie), f"there:{self.source}/", f"{self.replica}/")

    def everything(self) -> dict[bytes, Entry]:
        """All that a run may not touch, and the replica."""
        found = snapshot(self.outside.parent, skip_hidden=False, dir_mtimes=False)
        del found[os.fsencode(self.far_end.name)]
        found.pop(b".%b.py" % os.fsencode(self.far_end.name), None)
        return found


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def assert_refused(done: subprocess.CompletedProcess[str], lie: str = "") -> None:
    assert done.returncode == 12, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"there: {'the connection failed' if lie in CUT_OFF else 'its answer cannot be right'}" in line


def test_who_does_not_lie_is_believed(case: Case) -> None:
    done = case.pull("")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(case.replica.rglob("[0-9]*."))) == 30


def test_no_program_is_loaded_from_where_the_far_end_begins(case: Case, tmp_path: Path) -> None:
    """It may be a directory in which somebody else can write."""
    begins = tmp_path / "in other hands"
    begins.mkdir()
    for name in ("binascii", "types", "zlib", "json"):
        (begins / f"{name}.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'a')\nraise ImportError\n")
    write_program(case.far_end, f'cd {shlex.quote(str(begins))} && shift && exec sh -c "$*"')
    done = run_cyrsync("sync", "-e", f"'{case.far_end}'", f"there:{case.source}/", f"{case.replica}/")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize("lie", LIES)
def test_a_source_reaches_nothing_beyond_its_replica(case: Case, lie: str) -> None:
    words = case.lie(LIES[lie])
    before = case.everything()
    assert_refused(run_cyrsync("sync", *words, f"there:{case.source}/", f"{case.replica}/"), lie)
    after = {path: found for path, found in case.everything().items() if not path.startswith(b"replica")}
    assert after == before
    owner_file = case.replica / ".cyrsync-replica"
    assert not owner_file.exists() or owner_file.read_bytes().startswith(b"cyrsync-replica ")


def test_what_was_announced_and_does_not_come_is_not_deleted(case: Case) -> None:
    assert case.pull("").returncode == 0
    before = case.everything()
    assert_refused(case.pull(LIES["a folder that never comes"]))
    assert_refused(
        case.pull(
            "from cyrsync.far import walk\nreal = agent.walk\n"
            "agent.walk = lambda *a, **k: (f for f in real(*a, **k) if not f.path.endswith(b'Sent'))"
        )
    )
    assert case.everything() == before


REPLICA_LIES = {
    "files that nobody asked to delete": "answer('remove', b'[\"other\", 13]\\n')",
    "files outside": "answer('remove', b'[\"../out\", 13]\\n')",
    "counts that are none": "answer('remove', b'', files=-1, folders=0)",
}


@pytest.mark.parametrize("lie", REPLICA_LIES.values(), ids=REPLICA_LIES)
def test_a_replica_is_not_believed_either(case: Case, lie: str) -> None:
    ends = (f"{case.source}/", f"there:{case.replica}/")
    assert run_cyrsync("sync", *case.lie(""), *ends).returncode == 0
    samplespool.expunge(samplespool.folders(case.source)[0], 1)
    assert_refused(run_cyrsync("sync", *case.lie(lie), *ends))


ENDLESS = {
    "a line": "request.output.write(b'[' + b'x' * (1 << 20))\n    while True: request.output.write(b'x' * (1 << 20))",
    "a folder": "request.output.write(b'[\"\",0,null,[1,200000000],[],{},{},[],null,[]]\\n')\n"
    "    while True: request.output.write(b'\\1' * (1 << 20))",
    "a greeting": "",
}


@pytest.mark.parametrize("lie", ENDLESS)
def test_what_never_ends_takes_no_memory(case: Case, lie: str) -> None:
    serve = f"def serve(request):\n    {ENDLESS[lie] or 'pass'}\nagent._SERVICES['resolve'] = serve"
    if not ENDLESS[lie]:
        serve = "while True: sys.stdout.buffer.write(b'x' * (1 << 20))"
    assert_refused(with_little_memory("sync", *case.lie(serve), f"there:{case.source}/", f"{case.replica}/"), lie)


#: What `-e` leads to: a shell without python3 that lists as it likes.
SHELL = """\
#!{python}
import gzip, os, sys
command = " ".join(sys.argv[2:])
if "cyrsync-posix" not in command:
    os.execv("/bin/sh", ["sh", "-c", command])
print("cyrsync-posix", flush=True)
out = sys.stdout.buffer
def say(*items):
    out.write(b"".join(item + bytes(1) for item in items))
    out.flush()
for line in sys.stdin.buffer:
    if b"printf 'i%s" in line:
        break
say(b"d" + {source!r} + b"\\nx", b"i0", b"e")
for line in sys.stdin.buffer:
    if b"find . -name" in line:
        break
{lie}
sys.stdin.buffer.read()
"""
SHELL_LIES = {
    "a folder outside": "say(b'd.', b'd../out', b'n1.', b'e0')",
    "a name outside": "say(b'd.', b'n../../out/x', b'e0')",
    "the owner file": "say(b'd.', b'n.cyrsync-replica', b'e0')",
    "no hexadecimal": "say(b'd.', b'ncyrus.header', b'hzz', b'e0')",
    "no number": "say(b'af 644 x 0 0:0:a:b ./x', b'd.', b'e0')",
    "no compressed data": "out.write(b'\\x1f\\x8bhello'); out.flush()",
    "an item without an end": "out.write(b'd.\\0n')\nwhile True: out.write(b'x' * (1 << 16))",
    "names without an end": "say(b'd.')\nwhile True: say(*[b'n' + b'1' * 250 + b'.'] * 1000)",
    "a bomb": "out.write(gzip.compress(b'd.\\0n' + b'x' * (256 << 20), 1)); out.flush()",
}


@pytest.mark.parametrize("lie", SHELL_LIES.values(), ids=SHELL_LIES)
def test_a_shell_is_not_believed_either(case: Case, lie: str) -> None:
    executable(case.far_end, SHELL.format(python=sys.executable, source=bytes(case.source), lie=lie))
    before = case.everything()
    done = with_little_memory(
        "sync", "--delete", "--retries", "0", "-e", f"'{case.far_end}'", f"there:{case.source}/", f"{case.replica}/"
    )
    assert_refused(done)
    assert {path: one for path, one in case.everything().items() if not path.startswith(b"replica")} == before


#: An rsync that lists what a daemon says, and else is what it should be.
RSYNC = """\
#!{python}
import os, sys
if "--list-only" not in sys.argv or "-r" not in sys.argv:
    os.execv({rsync!r}, ["rsync", *sys.argv[1:]])
out = sys.stdout
BEGIN = "drwxr-xr-x          4,096 2026/11/28 04:00:00 .\\n"
FILE = "-rw-r--r--          4,096 2026/11/28 04:00:00 "
out.write(BEGIN)
{lie}
"""
DAEMON_LIES = {
    "a file outside": "print(FILE + '../../out/x')",
    "a whole path": "print(FILE + '/etc/x')",
    "a folder outside": "print('d' + FILE[1:] + '..')",
    "a name that is not what it shows": "print(FILE + '\\\\#056\\\\#056/x')",
    "the owner file": "print(FILE + '.cyrsync-replica')",
    "no time": "print(FILE.replace('11/28', '13/45') + 'x')",
    "a line without an end": "while True: out.write('x' * (1 << 16))",
    "names without an end": "while True: out.write((FILE + '1' * 250 + '.\\n') * 1000)",
    "complaints without an end": "while True: sys.stderr.write('x' * (1 << 16))",
}


@pytest.mark.parametrize("lie", DAEMON_LIES.values(), ids=DAEMON_LIES)
def test_a_daemon_is_not_believed_either(case: Case, daemon: RsyncDaemon, lie: str) -> None:
    samplespool.make(daemon.directory("ro"), messages=3, folder_count=1)
    programs = case.outside.parent / "programs"
    programs.mkdir()
    executable(programs / "rsync", RSYNC.format(python=sys.executable, rsync=which("rsync"), lie=lie))
    done = with_little_memory(
        "sync", "--delete", "--retries", "0", daemon.url("ro"), f"{case.replica}/", path=f"{programs}:{os.defpath}"
    )
    assert done.returncode == 12, done.stderr
    (line,) = done.stderr.splitlines()
    assert "127.0.0.1" in line
    assert "its answer cannot be right" in line


def with_little_memory(*words: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        cyrsync_argv(*words),
        env={**plain_env(), **({"PATH": path} if path else {})},
        capture_output=True,
        encoding="utf-8",
        check=False,
        preexec_fn=little_memory,
    )


def little_memory() -> None:
    """Leave a process some room beyond what its interpreter and its libraries take."""
    resource.setrlimit(resource.RLIMIT_AS, (800 << 20, 800 << 20))
    os.nice(5)
