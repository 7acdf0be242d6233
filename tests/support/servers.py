"""Whole servers to sync with `cyrsync sync -C`: made up, or real ones, and the servers that their replicas would be."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import samplespool
from cyrsync.cyrus.server.db import flat
from support.tree import run_cyrsync, sync

_ROOT = re.compile(r"^((?:meta|archive)?partition-\w+: )(.*)$", re.MULTILINE)


class SampleServer:
    """A server with one or more partitions of samplespool's, and a mailboxes.db of text."""

    def __init__(self, root: Path, *, messages: int = 300, folder_count: int = 12, partitions: str = "default") -> None:
        self.root = root
        self.spools = {name: root / f"spool-{name}" for name in partitions.split()}
        (root / "conf").mkdir(parents=True)
        self.conf = root / "imapd.conf"
        paths = [f"partition-{name}: {spool}\n" for name, spool in self.spools.items()]
        self.conf.write_text(f"configdirectory: {root}/conf\nhashimapspool: yes\n{''.join(paths)}")
        for number, spool in enumerate(self.spools.values()):
            samplespool.make(spool, messages // len(self.spools), folder_count, seed=number + 1)
            for user in list(spool.glob("?/user/*")) if number else []:
                user.rename(user.with_name(f"{user.name}{number}"))
        self.record()

    @property
    def spool(self) -> Path:
        """The first partition."""
        return next(iter(self.spools.values()))

    @property
    def database(self) -> Path:
        return self.root / "conf" / "mailboxes.db"

    def folders(self) -> list[Path]:
        """Every folder with a mailbox in it, of all partitions."""
        return [folder for spool in self.spools.values() for folder in samplespool.folders(spool)]

    def folder(self, name: str) -> Path:
        """Where `user/joe/Sent` of the first partition is."""
        return self.spool / name.split("/")[1][0] / name

    def record(self, *left_out: Path) -> None:
        """Write mailboxes.db: all mailboxes there are, but for some."""
        lines = {}
        for partition, spool in self.spools.items():
            for folder in samplespool.folders(spool):
                if folder not in left_out:
                    name = ".".join(folder.relative_to(spool).parts[1:])
                    lines[name.encode()] = b"%%(A %%() P %s)" % partition.encode()
        fresh = self.database.with_suffix(".NEW")
        fresh.write_bytes(b"".join(b"%s\t%s\n" % line for line in sorted(lines.items())))
        assert len(list(flat.records(fresh.read_bytes()))) == len(lines)
        fresh.replace(self.database)

    def delete(self, folder: Path) -> None:
        """Delete a mailbox, files and record."""
        samplespool.delete_folder(folder)
        self.record()


def replica_conf(conf: Path, destination: Path) -> Path:
    """The imapd.conf of a server that would run on the replica."""
    text = _ROOT.sub(lambda match: f"{match[1]}{destination}{match[2]}", conf.read_text())
    replica = destination.with_name(f"{destination.name}.conf")
    replica.write_text(text)
    return replica


def roots(conf: Path) -> list[Path]:
    """The directories of all partitions."""
    return [Path(match[2]) for match in _ROOT.finditer(conf.read_text())]


def below(destination: Path, path: Path) -> Path:
    """Where something of the source is on the replica."""
    return Path(f"{destination}{path}")


def sync_server(conf: Path, *words: str | Path, **options: Any) -> dict[str, Any]:
    """Sync, after a pause: what was written just now may change again unseen, and is looked at once more."""
    time.sleep(0.03)
    return sync("-C", conf, *words, **options)


def problems(conf: Path) -> list[tuple[str, str, list[int]]]:
    """What `verify --content` finds wrong: kind, last part of the folder's name, UIDs."""
    done = run_cyrsync("verify", "-C", conf, "--content", "--json")
    assert done.returncode in (0, 1), done.stderr
    return sorted(
        (one["kind"], os.path.basename(one["folder"]), one["uids"]) for one in json.loads(done.stdout)["problems"]
    )


def assert_sound(conf: Path, destination: Path) -> None:
    """The replica would run: every index has its messages, byte by byte, and there are no others."""
    assert problems(replica_conf(conf, destination)) == []
