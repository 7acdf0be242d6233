"""A Slurm of our own: a controller and a node, on this machine, for as long as the tests of a module need it."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.tools import SERVER_PATH, requires, requires_root, which
from support.tree import plain_env

_CONF = """\
ClusterName=cyrsync
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/controller.pid
SlurmdPidFile={directory}/node.pid
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""
_PATIENCE = 60.0


class Slurm:
    """What jobs are given to."""

    def __init__(self, conf: Path) -> None:
        self._conf = conf

    def env(self, **words: str) -> dict[str, str]:
        """The environment of its commands."""
        return {**plain_env(), "PATH": SERVER_PATH, "SLURM_CONF": str(self._conf), **words}

    def ask(self, *argv: str) -> str:
        """Run one of its commands, and return what that prints."""
        return subprocess.run(argv, env=self.env(), check=True, capture_output=True, text=True).stdout

    def wait(self) -> None:
        """Wait until no job is left, but for those that will never start."""
        deadline = time.monotonic() + _PATIENCE
        while any("Never" not in line for line in self.ask("squeue", "--noheader", "--format=%i %r").splitlines()):
            assert time.monotonic() < deadline, self.ask("squeue")
            time.sleep(0.2)


@contextmanager
def slurm(directory: Path) -> Iterator[Slurm]:
    """Start it, and stop it."""
    requires_root()
    requires("slurmctld", "slurmd", "sbatch", "squeue", "sinfo")
    for name in ("state", "spool"):
        (directory / name).mkdir(parents=True)
    conf = directory / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    conf.write_text(_CONF.format(host=host, directory=directory, controller=_free_port(), node=_free_port()))
    server = Slurm(conf)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for argv in (["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            with (directory / f"{argv[0]}.log").open("wb") as log:
                program = which(argv[0]) or argv[0]
                running.append(subprocess.Popen([program, *argv[1:]], env=server.env(), stdout=log, stderr=log))
        deadline = time.monotonic() + _PATIENCE
        while (
            subprocess.run(["sinfo", "--noheader", "--format=%t"], env=server.env(), capture_output=True).stdout
            != b"idle\n"
        ):
            assert time.monotonic() < deadline, [log.read_text() for log in directory.glob("*.log")]
            time.sleep(0.2)
        yield server
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
