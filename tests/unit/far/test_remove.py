"""Deletions reach what they name and nothing else, whatever lies in the way."""

from __future__ import annotations

import errno
import io
import os
import resource
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.far.remove import HIDDEN, RENAMED, Removal, Remover, clear, decode, encode
from support import campaign, frames
from support.deep import dig
from tests.support.descriptors import descriptors


def make(root: Path, *paths: bytes | str) -> None:
    """Make files, and with a slash at the end folders, below `root`."""
    for path in paths:
        raw = os.path.join(os.fsencode(root), os.fsencode(path))
        os.makedirs(os.path.dirname(raw), exist_ok=True)
        if not raw.endswith(b"/"):
            with open(raw, "wb") as file:
                file.write(b"content")


def there(root: Path) -> set[str]:
    """Every path below `root`, folders with a slash behind."""
    top = os.fsencode(root)
    found = set()
    for folder, folders, files in os.walk(top):
        found |= {os.path.relpath(os.path.join(folder, name), top) for name in files}
        found |= {os.path.relpath(os.path.join(folder, name), top) + b"/" for name in folders}
    return {os.fsdecode(path) for path in found}


def remove(root: Path, *removals: Removal, keep_times: bool = False) -> Remover:
    remover = Remover(os.fsencode(root), keep_times, lambda: True)
    remover.remove(removals)
    return remover


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A tree beside the root that must come to no harm."""
    path = tmp_path / "outside"
    make(path, "1.", "user/joe/1.", "cyrus.index")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def _unharmed(outside: Path) -> Iterator[None]:
    before = there(outside)
    yield
    assert there(outside) == before


def test_files(root: Path) -> None:
    make(root, "a/1.", "a/2.", "a/007.", "a/cyrus.cache", "a/stray", "a/.hidden", "a/Sub/1.", "1.")
    removal = Removal(b"a", array("I", [1, 3]), (b"007.", b"cyrus.cache", b"gone", b".hidden"))
    remover = remove(root, removal)
    assert there(root) == {"1.", "a/", "a/2.", "a/stray", "a/Sub/", "a/Sub/1."}
    assert (remover.files, remover.folders, remover.failed) == (4, 0, [])


def test_in_the_root_itself(root: Path) -> None:
    make(root, "1.", "2.", "a/1.")
    remover = remove(root, Removal(b"", array("I", [1]), (), (b"a",)))
    assert there(root) == {"2."}
    assert (remover.files, remover.folders) == (2, 1)


def test_gone_folders(root: Path) -> None:
    make(root, "user/joe/1.", "user/joe/cyrus.index", "user/joe/Sub/deep/1.", "user/joe/cyrus.x.NEW", "user/jane/1.")
    remover = remove(root, Removal(b"user", folders=(b"joe",)))
    assert there(root) == {"user/", "user/jane/", "user/jane/1."}
    assert (remover.files, remover.folders, remover.failed) == (4, 3, [])


@pytest.mark.parametrize(
    "name", [b"caf\xc3\xa9", b"\xff\xfe", b"new\nline", b"$(touch x)", b"-rf", b" ", b"\\#012", b"*", b"\xe2\x80\xae"]
)
def test_any_name(root: Path, name: bytes) -> None:
    make(root, name + b"/" + name, name + b"/kept", b"gone" + name + b"/" + name)
    remover = remove(root, Removal(name, files=(name,)), Removal(b"", folders=(b"gone" + name,)))
    assert there(root) == {os.fsdecode(name) + "/", os.fsdecode(name) + "/kept"}
    assert (remover.files, remover.folders, remover.failed) == (2, 1, [])


def test_what_is_gone_already_is_well(root: Path) -> None:
    make(root, "file")
    remover = remove(
        root,
        Removal(b"", array("I", [1]), (b"gone",), (b"gone",)),
        Removal(b"gone/for/long", array("I", [1])),
        Removal(b"file", array("I", [1])),  # what was a folder
        Removal(b"", folders=(b"file",)),  # a file stands in its place by now
    )
    assert there(root) == {"file"}
    assert (remover.files, remover.folders, remover.failed) == (0, 0, [])


def test_no_link_in_the_path_is_followed(root: Path, outside: Path) -> None:
    (root / "user").symlink_to(outside / "user")
    make(root, "real/")
    (root / "real" / "joe").symlink_to(outside / "user" / "joe")
    remover = remove(
        root,
        Removal(b"user/joe", array("I", [1])),
        Removal(b"user", folders=(b"joe",)),
        Removal(b"real/joe", array("I", [1])),
        Removal(b"real/joe/../joe", array("I", [1])),
    )
    assert (remover.files, remover.folders) == (0, 0)


def test_no_link_to_a_folder_is_followed(root: Path, outside: Path) -> None:
    (root / "joe").symlink_to(outside / "user" / "joe")
    remover = remove(root, Removal(b"", folders=(b"joe",)))
    assert (remover.files, remover.folders) == (0, 0)


def test_links_in_a_gone_folder_go_themselves(root: Path, outside: Path) -> None:
    make(root, "gone/Sub/1.")
    (root / "gone" / "out").symlink_to(outside)
    (root / "gone" / "Sub" / "1").symlink_to(outside / "1.")
    (root / "gone" / "Sub" / "up").symlink_to("../..")
    remover = remove(root, Removal(b"", folders=(b"gone",)))
    assert there(root) == set()
    assert (remover.files, remover.folders, remover.failed) == (4, 2, [])


def test_a_link_under_a_file_name_goes_itself(root: Path, outside: Path) -> None:
    (root / "1.").symlink_to(outside / "1.")
    assert remove(root, Removal(b"", array("I", [1]))).files == 1
    assert there(root) == set()


def test_the_root_may_be_a_link(root: Path, tmp_path: Path) -> None:
    make(root, "1.")
    (tmp_path / "link").symlink_to(root)
    assert remove(tmp_path / "link", Removal(b"", array("I", [1]))).files == 1


def test_a_missing_root(tmp_path: Path) -> None:
    remover = remove(tmp_path / "gone", Removal(b"", array("I", [1])), Removal(b"a", folders=(b"b",)))
    assert (remover.files, remover.folders) == (0, 0)


def test_hidden_files_keep_a_gone_folder(root: Path) -> None:
    make(root, "top/joe/1.", "top/joe/Sub/.keep", "top/joe/Sub/2.", "top/joe/Other/1.", "top/jane/1.")
    remover = remove(root, Removal(b"top", folders=(b"joe", b"jane")))
    assert there(root) == {"top/", "top/joe/", "top/joe/Sub/", "top/joe/Sub/.keep"}
    assert remover.failed == [(b"top/joe/Sub/.keep", HIDDEN)]
    assert (remover.files, remover.folders) == (4, 2)


def test_hidden_folders_keep_a_gone_folder(root: Path) -> None:
    make(root, "joe/.snapshots/1.")
    assert remove(root, Removal(b"", folders=(b"joe",))).failed == [(b"joe/.snapshots", HIDDEN)]
    assert there(root) == {"joe/", "joe/.snapshots/", "joe/.snapshots/1."}


def test_a_folder_that_fills_up_meanwhile_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "joe/1.", "joe/2.")
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [name for name in listed(folder) if os.fsencode(name) != b"2."])
    assert remove(root, Removal(b"", folders=(b"joe",))).failed == [(b"joe", errno.ENOTEMPTY)]


def test_leftovers_go_with_a_gone_folder(root: Path) -> None:
    make(root, "joe/.1..AbCdEf", "joe/.cyrus.index.AbCdEf", "joe/1.", "joe/.~tmp~/cyrus.index")
    remover = remove(root, Removal(b"", folders=(b"joe",)))
    assert there(root) == set()
    assert (remover.files, remover.folders, remover.failed) == (4, 2, [])


def test_a_folder_is_no_file(root: Path) -> None:
    make(root, "a/1./x", "a/2.")
    remover = remove(root, Removal(b"a", array("I", [1, 2])))
    assert there(root) == {"a/", "a/1./", "a/1./x"}
    assert remover.failed == [(b"a/1.", errno.EISDIR)]


def test_keep_times(root: Path) -> None:
    make(root, "kept/1.", "kept/2.", "kept/gone/1.", "other/1.")
    for folder in ("kept", "other"):
        os.utime(root / folder, ns=(10**18, 10**18 + 123456789))
    remove(root, Removal(b"kept", array("I", [1]), (), (b"gone",)), keep_times=True)
    remove(root, Removal(b"other", array("I", [1])), keep_times=False)
    assert (root / "kept").stat().st_mtime_ns == 10**18 + 123456789
    assert (root / "other").stat().st_mtime_ns > 10**18 + 123456789


def test_times_of_the_root_are_kept(root: Path) -> None:
    make(root, "gone/1.")
    os.utime(root, ns=(10**18, 10**18))
    remove(root, Removal(b"", folders=(b"gone",)), keep_times=True)
    assert root.stat().st_mtime_ns == 10**18


def test_another_file_system_is_not_entered(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "joe/1.", "joe/mounted/1.", "joe/mounted/Sub/1.")
    mounted = (root / "joe" / "mounted").stat().st_ino
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        return os.stat_result((*status[:2], 999, *status[3:])) if status.st_ino == mounted else status

    monkeypatch.setattr(os, "fstat", fstat)
    remover = remove(root, Removal(b"", folders=(b"joe",)))
    assert there(root) == {"joe/", "joe/mounted/", "joe/mounted/1.", "joe/mounted/Sub/", "joe/mounted/Sub/1."}
    assert remover.failed == [(b"joe/mounted", errno.EXDEV)]


def test_one_failure_does_not_stop_the_rest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "a/1.", "a/2.", "b/1.", "c/2.", "gone/1.", "gone/2.")
    real = os.unlink

    def unlink(name: bytes, *, dir_fd: int) -> None:
        if name == b"1.":
            raise PermissionError(errno.EACCES, "Permission denied", name)
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    remover = remove(
        root,
        Removal(b"a", array("I", [1, 2])),
        Removal(b"b", array("I", [1])),
        Removal(b"c", array("I", [2])),
        Removal(b"", folders=(b"gone",)),
    )
    # But in one folder: what stays may be an index.
    assert there(root) - {"gone/2."} == {"a/", "a/1.", "a/2.", "b/", "b/1.", "c/", "gone/", "gone/1."}
    assert remover.failed == [(path, errno.EACCES) for path in (b"a/1.", b"b/1.", b"gone/1.")]
    assert remover.files == 1 + ("gone/2." not in there(root))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("whole", [True, False])
def test_where_an_index_stays_its_messages_do(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, whole: bool
) -> None:
    """As for a file that is immutable, which is no directory."""
    make(root, "gone/1.", "gone/cyrus.index", "gone/cyrus.header", "gone/Sub/1.")
    real = os.unlink

    def unlink(name: bytes, *, dir_fd: int) -> None:
        if name == b"cyrus.index":
            raise OSError(number, os.strerror(number), name)
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    before = there(root)
    files = (b"cyrus.header", b"cyrus.index")
    removal = Removal(b"", folders=(b"gone",)) if whole else Removal(b"gone", array("I", [1]), files, (b"Sub",))
    remover = remove(root, removal)
    assert there(root) == before
    assert remover.failed == [(b"gone/cyrus.index", number)]
    assert (remover.files, remover.folders) == (0, 0)


def test_a_directory_of_which_a_system_says_eperm(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "gone/Sub/1.")
    real = os.unlink

    def unlink(name: bytes, *, dir_fd: int) -> None:
        if name == b"Sub":
            raise PermissionError(errno.EPERM, "Operation not permitted", name)
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    assert remove(root, Removal(b"", folders=(b"gone",))).failed == []
    assert there(root) == set()


def test_a_folder_that_may_not_be_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "a/b/1.", "c/1.")
    real = os.open

    def denied(name: bytes, flags: int, **kwargs: int) -> int:
        if name == b"b":
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return real(name, flags, **kwargs)

    monkeypatch.setattr(os, "open", denied)
    remover = remove(
        root, Removal(b"a/b", array("I", [1])), Removal(b"a", folders=(b"b",)), Removal(b"c", array("I", [1]))
    )
    assert there(root) == {"a/", "a/b/", "a/b/1.", "c/"}
    assert remover.failed == [(b"a/b", errno.EACCES), (b"a/b", errno.EACCES)]


def test_stops_when_nobody_wants_it_any_more(root: Path) -> None:
    make(root, "a/1.", "b/1.", "c/1.")
    answers = iter([True, True, False])
    remover = Remover(os.fsencode(root), False, lambda: next(answers))
    remover.remove(Removal(path, array("I", [1])) for path in (b"a", b"b", b"c"))
    assert there(root) == {"a/", "b/", "c/", "c/1."}
    assert remover.files == 2


def test_a_folder_that_may_not_be_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "joe/1.", "ann/1.")
    real = os.listdir
    victim = (root / "joe").stat().st_ino

    def listdir(folder: bytes) -> list[bytes]:
        if os.stat(folder).st_ino == victim:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    assert remove(root, Removal(b"", folders=(b"joe", b"ann"))).failed == [(b"joe", errno.EACCES)]
    assert there(root) == {"joe/", "joe/1."}


def test_times_that_cannot_be_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "joe/1.", "joe/2.")

    def denied(folder: int, *, ns: tuple[int, int]) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", denied)
    remover = remove(root, Removal(b"joe", array("I", [1])), keep_times=True)
    assert (remover.files, remover.failed) == (1, [(b"joe", errno.EPERM)])


def test_no_descriptor_is_lost(root: Path, outside: Path) -> None:
    make(root, "a/b/c/1.", "a/b/.hidden", "x/1.")
    (root / "link").symlink_to(outside)
    before = descriptors()
    remove(
        root,
        Removal(b"a", folders=(b"b",)),
        Removal(b"x", array("I", [1])),
        Removal(b"link/user", array("I", [1])),
        Removal(b"a/gone/deeper", array("I", [1])),
    )
    assert descriptors() == before


@campaign.slow()
@given(st.lists(frames.removals, max_size=4), st.binary())
def test_round_trip(some: list[Removal], behind: bytes) -> None:
    stream = io.BytesIO(b"".join(map(encode, some)) + b"null\n" + behind)
    assert list(decode(stream)) == some
    assert stream.read() == behind


def make_deep(root: Path, levels: int, name: str) -> None:
    """Make so many directories below one another, with a file of that name in the lowest."""
    deepest = dig(root, levels)
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=deepest))
    os.close(deepest)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Let this process open no more than a few files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_folders_of_any_depth(root: Path) -> None:
    make_deep(root, 3000, "1.")
    remover = remove(root, Removal(b"", folders=(b"d",)))
    assert (remover.files, remover.folders, remover.failed) == (1, 3000, [])
    assert there(root) == set()


def test_what_is_hidden_deep_below_keeps_all_above_it(root: Path) -> None:
    make_deep(root, 3000, ".kept")
    make(root, "d/1.", "d/e/1.", "d/d/e/1.")
    remover = remove(root, Removal(b"", folders=(b"d",)))
    assert remover.failed == [(b"d/" * 3000 + b".kept", 0)]
    assert (remover.files, remover.folders) == (3, 2)
    clear_all(root)


def clear_all(root: Path) -> None:
    """Take away what nothing else of the tests could."""
    (root / "d").rename(root / os.fsdecode(RENAMED))
    clear(os.fsencode(root))
    assert not list(root.iterdir())


def test_a_folder_that_is_moved_away_meanwhile(root: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is above it then is not ours to delete in."""
    make(root, "a/b/c/1.", "a/x")
    real = os.unlink

    def unlink(name: bytes, *, dir_fd: int) -> None:
        real(name, dir_fd=dir_fd)
        if name == b"1.":
            (root / "a/b").rename(outside / "b")

    monkeypatch.setattr(os, "unlink", unlink)
    monkeypatch.setattr(os, "listdir", lambda fd, real=os.listdir: sorted(real(fd), reverse=True))
    remover = remove(root, Removal(b"", folders=(b"a",)))
    (outside / "b").rmdir()
    assert remover.failed == [(b"a/b", errno.ESTALE)]
    assert "a/" in there(root)


def test_what_may_not_be_unlinked_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no directory for that: a file that is immutable says the same."""
    make(root, "a/1.", "a/2.")
    real = os.unlink

    def unlink(name: bytes, *, dir_fd: int) -> None:
        if name == b"1.":
            raise PermissionError(errno.EPERM, "")
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    remover = remove(root, Removal(b"", folders=(b"a",)))
    assert remover.failed == [(b"a/1.", errno.EPERM)]
    assert {"a/", "a/1."} <= there(root)


# --- What a killed rsync has left


def remove_temporary(root: Path, *removals: Removal) -> Remover:
    remover = Remover(os.fsencode(root), True, lambda: True)
    remover.remove_temporary(removals)
    return remover


def test_temporary_files_of_what_is_named_go(root: Path) -> None:
    gone = ["joe/.7..AbCdEf", "joe/.7.AbCdEf", "joe/.cyrus.index.AbCdEf", "joe/.~tmp~/cyrus.index"]
    kept = ["joe/.8..AbCdEf", "joe/.cyrus.header.AbCdEf", "joe/7.", "joe/cyrus.index", "joe/.hidden", ".7..AbCdEf"]
    make(root, *gone, *kept, "joe/.7..ABCDEF/")
    remover = remove_temporary(root, Removal(b"joe", array("I", [7]), (b"cyrus.index",)), Removal(b"gone"))
    assert there(root) == {*kept, "joe/", "joe/.7..ABCDEF/"}
    assert (remover.files, remover.folders, remover.failed) == (4, 1, [])


def test_no_link_leads_elsewhere_from_a_temporary_file(root: Path, outside: Path) -> None:
    elsewhere = root.parent / "elsewhere"
    make(elsewhere, ".7..AbCdEf")
    make(root, "joe/")
    (root / "joe/.~tmp~").symlink_to(outside)
    (root / "joe/.7..AbCdEf").symlink_to(outside / "1.")
    (root / "ann").symlink_to(elsewhere)
    remove_temporary(root, *(Removal(path, array("I", [7])) for path in (b"joe", b"ann")))
    assert there(elsewhere) == {".7..AbCdEf"}
