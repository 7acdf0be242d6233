"""What the benchmark runs, and the table that it prints."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus import config
from cyrsync.cyrus.server import located

BENCH = Path(__file__).resolve().parents[3] / "scripts" / "bench"
SPOOL = Path("/var/spool/imap")


@pytest.fixture(scope="module")
def bench() -> Any:
    """The script as a module, though its name does not end in .py."""
    loader = importlib.machinery.SourceFileLoader("bench", str(BENCH))
    spec = importlib.util.spec_from_loader("bench", loader)
    assert spec
    module = sys.modules["bench"] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_sync_tools_have_replicas_of_their_own(bench: Any) -> None:
    old, new = bench.sync_tools(["cyrsync"], Path("/work"))
    link = bench.Link("ssh", ["ssh", "-p", "22"])
    assert link.arguments(old, SPOOL) == [
        *("rsync", "-a", "--delete", "-e", "ssh -p 22", "/var/spool/imap/", "bench:/work/old/")
    ]
    assert bench.Link("disk").arguments(new, SPOOL) == ["cyrsync", "sync", "--delete", "/var/spool/imap", "/work/new"]


def test_index_tools_know_every_folder(bench: Any, tmp_path: Path) -> None:
    """What the tool remembers lies in its replica: a first copy begins with neither."""
    spool = tmp_path / "spool"
    bench.samplespool.make(spool, 200, 10)
    _, new = bench.index_tools(["cyrsync"], tmp_path, spool)
    conf = tmp_path / "conf" / "imapd.conf"
    assert bench.Link("ssh", ["ssh"]).arguments(new, spool) == [
        *("cyrsync", "sync", "-C", str(conf), "--state", f"{tmp_path}/standby/.state", "--delete"),
        *("-e", "ssh", f"bench:{tmp_path}/standby"),
    ]
    lying = {Path(os.fsdecode(place.data)) for place in located(config.read(str(conf)))}
    assert lying == set(bench.samplespool.folders(spool))


def test_verify_tools_look_at_the_spool_alone(bench: Any) -> None:
    counting, verify = (
        bench.Link("disk").arguments(tool, SPOOL) for tool in bench.verify_tools(["python", "-m", "cyrsync"], SPOOL)
    )
    assert counting == ["sh", "-c", 'find "$1" -type f | wc -l', "sh", "/var/spool/imap"]
    assert verify == ["python", "-m", "cyrsync", "verify", "/var/spool/imap"]


def test_the_table_has_medians(bench: Any) -> None:
    row = bench.Row("none", "disk", "warm")
    row.samples["find"] = [bench.Sample(seconds, 2048) for seconds in (9.0, 3.0, 2.0)]
    row.samples["cyrsync verify"] = [bench.Sample(seconds, 20480) for seconds in (1.5, 1.0, 2.5)]
    row.calls = {"find": bench.Calls(1000, 0), "cyrsync verify": bench.Calls(200, 0)}
    head, _, line = bench.table([row], ["find", "cyrsync verify"])
    assert "| find | cyrsync verify |" in head
    assert line == "| none | disk | warm | 3.00 s | 1.50 s | **2.0** | 2 / 20 MiB | 1,000 / 200 | 0 / 0 |"
    assert line.count("|") == head.count("|")
