"""`restore --as cyrus` has mailboxes.db and the users' files, too, as they are and as they were."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.history import moment
from support.inside import run_here, sync_server_here
from support.servers import SampleServer

SUB, SEEN, SCRIPT = "conf/user/j/joe.sub", "conf/user/j/joe.seen", "sieve/j/joe/vacation.script"


class Site:
    """A server whose users have files of their own, and its replica."""

    def __init__(self, root: Path) -> None:
        self.server = SampleServer(root / "server", messages=30, folder_count=6)
        self.root, self.replica, self.out = self.server.root, root / "replica", root / "out"
        self.replica.mkdir()
        with self.server.conf.open("a") as conf:
            conf.write(f"sievedir: {self.root}/sieve\n")
        for path in (SUB, SEEN, SCRIPT, "conf/user/a/anna.sub", "sieve/a/anna/vacation.script"):
            self.write(path, f"{path} as it was first\n")
        (self.root / "sieve/j/joe/defaultbc").symlink_to("vacation.bc")
        self.moments = [self.sync()]

    def write(self, path: str, text: str) -> None:
        whole = self.root / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        fresh = whole.with_name(f"{whole.name}.NEW")
        fresh.write_text(text)
        fresh.replace(whole)

    def activate(self, link: Path, target: str) -> None:
        fresh = link.with_name(f"{link.name}.NEW")
        fresh.symlink_to(target)
        fresh.replace(link)

    def sync(self) -> str:
        """Bring the replica up to date, and return when that was."""
        sync_server_here(self.server.conf, "--delete", "--max-delete", "1000", "--history", self.replica)
        when = moment.iso(time.time_ns()) or ""
        time.sleep(0.02)
        return when

    def restore(self, *words: str | Path, out: Path | None = None, code: int = 0) -> dict[str, Any]:
        out = out or self.out
        done = run_here("restore", self.replica, "-C", self.server.conf, "--as", "cyrus", "--to", out, "--json", *words)
        assert done.exit_code == code, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def files(self, out: Path | None = None) -> dict[str, str]:
        """What was restored beside the mailboxes, by the paths on the server."""
        top = Path(f"{out or self.out}/server.files{self.root}")
        return {
            str(path.relative_to(top)): os.readlink(path) if path.is_symlink() else path.read_text()
            for path in sorted(top.rglob("*"))
            if not path.is_dir()
        }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def first(*paths: str) -> dict[str, str]:
    return {path: f"{path} as it was first\n" for path in paths}


def test_the_files_of_a_user(site: Site) -> None:
    found = site.restore("--user", "joe")
    assert (found["files"], found["errors"], found["warnings"]) == (4, [], [])
    assert site.files() == {**first(SUB, SEEN, SCRIPT), "sieve/j/joe/defaultbc": "vacation.bc"}
    assert (site.out / "cyrus.index").is_file()


def test_the_files_of_the_whole_server(site: Site) -> None:
    found = site.restore()
    everybody = [SUB, SEEN, SCRIPT, "conf/user/a/anna.sub", "sieve/a/anna/vacation.script"]
    expected = {**first(*everybody), "sieve/j/joe/defaultbc": "vacation.bc"}
    assert site.files() == {**expected, "conf/mailboxes.db": site.server.database.read_text()}
    assert found["files"] == len(expected) + 1
    assert (site.out / "user/joe/cyrus.index").is_file()


def test_the_files_as_of_a_time(site: Site, tmp_path: Path) -> None:
    names = site.server.database.read_text()
    site.write(SUB, "later\n")
    site.write("sieve/j/joe/later.script", "later\n")
    (site.root / SCRIPT).unlink()
    samplespool.delete_folder(site.server.folder("user/joe/Sent"))
    site.server.record()
    site.moments.append(site.sync())
    for number, words in enumerate(((), ("--as-of", site.moments[1]))):
        out = tmp_path / f"now{number}"
        site.restore("--user", "joe", *words, out=out)
        assert site.files(out) == {
            **first(SEEN),
            SUB: "later\n",
            "sieve/j/joe/later.script": "later\n",
            "sieve/j/joe/defaultbc": "vacation.bc",
        }
    assert run_here("prune", "-C", site.server.conf, site.replica, "--keep-within", "7d").exit_code == 0
    site.restore("--as-of", site.moments[0])
    files = site.files()
    assert files.pop("conf/mailboxes.db") == names
    assert {path: text for path, text in files.items() if "joe" in path} == {
        **first(SUB, SEEN, SCRIPT),
        "sieve/j/joe/defaultbc": "vacation.bc",
    }


def test_files_of_no_user_are_left_out_where_a_mailbox_is_named(site: Site) -> None:
    assert site.restore("user/joe")["files"] == 0
    assert not (site.out / "server.files").exists()


def test_a_dry_run_counts_them(site: Site) -> None:
    done = run_here("restore", site.replica, "-C", site.server.conf, "--as", "cyrus", "--user", "joe", "-n", "--json")
    assert json.loads(done.stdout)["files"] == 4
    assert not site.out.exists()


def test_a_file_that_cannot_be_read_costs_only_itself(site: Site) -> None:
    path = Path(f"{site.replica}{site.root}/{SUB}")
    path.unlink()
    os.mkfifo(path)
    with (path.with_name("joe.mboxkey")).open("wb") as sparse:
        sparse.truncate(1 << 30)
    found = site.restore("--user", "joe", code=23)
    assert [error.split(": ")[0].rpartition("/")[2] for error in found["errors"]] == ["joe.mboxkey"]
    assert site.files() == {**first(SEEN, SCRIPT), "sieve/j/joe/defaultbc": "vacation.bc"}


def test_links_as_of_a_time(site: Site, tmp_path: Path) -> None:
    """Of a user's Sieve scripts, a link says which one is active."""
    link, other = site.root / "sieve/j/joe/defaultbc", site.root / "sieve/j/joe/other"
    site.activate(link, "later.bc")
    other.symlink_to("x.script")
    site.moments.append(site.sync())
    link.unlink()
    link.write_text("now a file")
    site.moments.append(site.sync())
    site.activate(link, "last.bc")
    site.moments.append(site.sync())
    link.unlink()
    site.moments.append(site.sync())
    expected = ["vacation.bc", "later.bc", "now a file", "last.bc", None]
    for packed in (False, True):
        for number, (when, target) in enumerate(zip(site.moments, expected, strict=True)):
            out = tmp_path / f"{packed}{number}"
            found = site.restore("--user", "joe", "--as-of", when, out=out)
            assert (found["errors"], found["warnings"]) == ([], [])
            files = site.files(out)
            assert files.get("sieve/j/joe/defaultbc") == target
            assert files.get("sieve/j/joe/other") == ("x.script" if number else None)
            assert (out / f"server.files{link}").is_symlink() is (target not in (None, "now a file"))
        done = run_here("verify", "--history", site.replica, "-C", site.server.conf, "--content")
        assert done.exit_code == 0, done.output
        assert run_here("prune", "-C", site.server.conf, site.replica, "--keep-within", "7d").exit_code == 0
    assert run_here("prune", "-C", site.server.conf, site.replica, "--keep-last", "1").exit_code == 0
    done = run_here("forget", "joe", "--yes", "-C", site.server.conf, site.replica)
    assert done.exit_code == 0, done.output
    assert not list(site.replica.rglob(".cyrsync-history/files/**/*defaultbc*"))


def test_links_lead_nowhere(site: Site, tmp_path: Path) -> None:
    """Neither is a link followed out of the tree, nor is one restored that leads away."""
    (tmp_path / "secret").write_text("secret\n")
    there = Path(f"{site.replica}{site.root}/sieve/j/joe")
    (there / "away").symlink_to(tmp_path / "secret")
    (there / "up").symlink_to("..")
    home = Path(f"{site.replica}{site.root}/conf/user/a")
    home.rename(tmp_path / "elsewhere")
    home.symlink_to(tmp_path / "elsewhere")
    found = site.restore()
    assert sorted(warning.split(": ")[0].rpartition("/")[2] for warning in found["warnings"]) == ["a", "away", "up"]
    assert not [path for path in site.files() if "anna.sub" in path or path.endswith(("away", "up"))]


def test_without_its_imapd_conf_a_warning_is_given(site: Site) -> None:
    done = run_here("restore", site.replica, "--as", "cyrus", "--user", "joe", "--to", site.out, "--json")
    assert done.exit_code == 0
    assert "-C" in json.loads(done.stdout)["warnings"][0]


@pytest.mark.parametrize("name", ["..", ".", "%2e%2e", "a%b\nc", "joe.sub"])
def test_names_in_a_store_lead_nowhere_else(site: Site, tmp_path: Path, name: str) -> None:
    """Whoever may write there gives a version the name of another directory."""
    versions = Path(f"{site.replica}{site.root}/conf/.cyrsync-history/files/user/j/{name}.versions")
    versions.mkdir(parents=True)
    (versions / "20200101T000000.000000000Z").write_text("intruder\n")
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    site.restore("--as-of", site.moments[0])
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} == before
    top = Path(f"{site.out}/server.files{site.root}/conf/user/j")
    intruders = [path for path in site.out.rglob("*") if path.is_file() and path.read_bytes() == b"intruder\n"]
    assert {path.parent for path in intruders} <= {top}
