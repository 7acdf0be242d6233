"""Owners and modes, also of messages that are there already: they become what `rsync -a` would make of them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from cyrsync.ends.address import parse
from cyrsync.ends.connections import Connections
from support.inside import sync_here
from support.servers import SampleServer, below, sync_server
from support.sshd import Sshd
from support.tools import requires, requires_root
from support.tree import Entry, rsync, run_cyrsync, snapshot, sync

#: A remote shell to this machine, as one that has other users.
RSH = """\
#!/bin/sh
while [ "$1" != far ]; do shift; done
shift
exec unshare -m sh -c 'mount --bind {users} /etc/passwd && exec sh -c "$0"' "$*"
"""


class OtherUsers:
    """A far end with a user database of its own."""

    def __init__(self, directory: Path) -> None:
        self.users = directory / "passwd"
        self.rsh = directory / "rsh"
        self.rsh.write_text(RSH.format(users=self.users))
        self.rsh.chmod(0o755)
        self.know()

    def know(self, **numbers: int) -> None:
        """Let there be root and these users, and no others."""
        lines = [f"{name}:x:{number}:0::/:/bin/sh\n" for name, number in {"root": 0, **numbers}.items()]
        self.users.write_text("".join(lines))


@pytest.fixture
def far(tmp_path: Path) -> OtherUsers:
    requires_root()
    requires("unshare", "mount")
    return OtherUsers(tmp_path)


def user() -> pwd.struct_passwd:
    """A user of this machine other than root."""
    return next(found for found in pwd.getpwall() if 0 < found.pw_uid < 60000)


def give(root: Path, uid: int) -> None:
    """Give a tree away."""
    for path in (root, *root.rglob("*")):
        os.lchown(path, uid, -1)


def owners(root: Path) -> set[int]:
    return {path.lstat().st_uid for path in root.rglob("*") if not path.name.startswith(".")}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    samplespool.make(root, messages=60, folder_count=5)
    return root


def test_a_user_who_is_known_there_now(source: Path, tmp_path: Path, far: OtherUsers) -> None:
    """A first copy was made before Cyrus was installed there: the number of its user is another's perhaps."""
    give(source, user().pw_uid)
    words = ("--rsh", f"{far.rsh}", source, f"far:{tmp_path}/replica")
    sync(*words)
    assert owners(tmp_path / "replica") == {user().pw_uid}
    assert sync(*words)["rsync_runs"] == 0

    far.know(**{user().pw_name: 54321})
    done = run_cyrsync("verify", *words)
    assert (done.returncode, "owner" in done.stderr) == (1, True), done
    sync(*words)
    assert owners(tmp_path / "replica") == {54321}
    assert sync(*words)["rsync_runs"] == 0
    assert run_cyrsync("verify", *words).returncode == 0


def test_a_number_that_is_another_users_there(source: Path, tmp_path: Path, far: OtherUsers) -> None:
    """rsync gives it nevertheless, where the name is unknown: nothing is left to be done."""
    give(source, user().pw_uid)
    far.know(somebody=user().pw_uid)
    words = ("--rsh", f"{far.rsh}", source, f"far:{tmp_path}/replica")
    sync(*words)
    assert owners(tmp_path / "replica") == {user().pw_uid}
    assert sync(*words)["rsync_runs"] == 0


def test_an_owner_that_the_root_of_the_spool_does_not_have(source: Path, tmp_path: Path, far: OtherUsers) -> None:
    folder = samplespool.folders(source)[0]
    give(folder, user().pw_uid)
    words = ("--rsh", f"{far.rsh}", source, f"far:{tmp_path}/replica")
    sync(*words)
    far.know(**{user().pw_name: 54321})
    report = sync(*words)
    assert owners(tmp_path / "replica" / folder.relative_to(source)) == {54321}
    assert report["folders"]["seen"] == sync(*words)["folders"]["seen"]


def test_a_user_who_is_known_there_now_with_a_whole_server(tmp_path: Path, far: OtherUsers) -> None:
    server, replica = SampleServer(tmp_path / "server", messages=60, folder_count=5), tmp_path / "replica"
    replica.mkdir()
    give(server.spool, user().pw_uid)
    words = ("--no-config", "--rsh", f"{far.rsh}", f"far:{replica}")
    sync_server(server.conf, *words)
    far.know(**{user().pw_name: 54321})
    sync_server(server.conf, "--full", *words)
    assert owners(below(replica, server.spool)) >= {54321}
    found = [path.lstat().st_uid for path in below(replica, server.spool).rglob("[0-9]*.")]
    assert (len(found), set(found)) == (60, {54321})


def chown(path: Path) -> None:
    os.lchown(path, 54321, 54321)


def chmod(path: Path) -> None:
    path.chmod(0o750 if path.is_dir() else 0o640)


@pytest.fixture(params=[chown, chmod])
def harm(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    if request.param is chown:
        requires_root()
    return request.param  # type: ignore[no-any-return]


def attributes(root: Path) -> dict[bytes, Entry]:
    return {path: entry._replace(mtime_ns=0) for path, entry in snapshot(root).items()}


@pytest.mark.parametrize("where", ["the folder", "its index", "all of it"])
def test_a_folder_with_other_attributes(source: Path, tmp_path: Path, harm: Callable[[Path], None], where: str) -> None:
    """One sign is enough: all messages are seen to."""
    replica = tmp_path / "replica"
    rsync("-a", "-@-1", f"{source}/", f"{replica}/")
    folder = next(path.parent for path in sorted(replica.rglob("1.")))
    signs = {"the folder": [folder], "its index": [folder / "cyrus.index"], "all of it": list(folder.iterdir())}[where]
    for path in {*signs, *folder.glob("[0-9]*.")}:
        harm(path)
    assert run_cyrsync("verify", source, replica).returncode == 1
    sync_here("--delete", source, replica)
    assert attributes(replica) == attributes(source)
    assert sync_here("--delete", source, replica)["rsync_runs"] == 0
    assert run_cyrsync("verify", source, replica).returncode == 0


def test_a_full_run_of_a_server_mends_messages(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    server, replica = SampleServer(tmp_path / "server", messages=60, folder_count=5), tmp_path / "replica"
    replica.mkdir()
    sync_server(server.conf, "--no-config", replica)
    there = below(replica, server.spool)
    folder = next(path.parent for path in sorted(there.rglob("1.")))
    for path in folder.iterdir():
        harm(path)
    sync_server(server.conf, "--no-config", "--full", replica)
    left = {path: entry for path, entry in attributes(there).items() if not path.startswith(b".")}
    assert left == attributes(server.spool)


def test_what_names_mean_to_a_far_shell(sshd_without_python: Sshd, tmp_path: Path) -> None:
    names = {"user:root": 0, "user:nobody": pwd.getpwnam("nobody").pw_uid, "group:root": 0, "group:nosuch": None}
    address = parse(sshd_without_python.at(tmp_path))
    connections = Connections(address, sshd_without_python.rsh, (), tmp_path)
    try:
        tree = connections.open(address, is_replica=True)
        assert tree.numbers({*names, "user:no such; touch ran", "user:nosuch"}) == {**names, "user:nosuch": None}
        assert tree.numbers(()) == {}
        assert tree.resolve(os.fsencode(tmp_path)).directory
    finally:
        connections.close()
