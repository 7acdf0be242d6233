"""README.md and docs/ against the program: each command in them is run, and whatever they name exists."""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from cyrsync.cli.commands import app
from cyrsync.errors import CONNECTION_CODES, Exit
from cyrsync.rsync.option_table import LONG
from support import pages
from support.boxes import Box
from support.tools import python_words, requires, write_program
from support.tree import plain_env

#: What is in blocks and is not run here, by how it begins: where it is run, or why by no test.
ELSEWHERE = {
    "*/": "lines for cron are run by test_cron_lines.py",
    "2 4 * * 0": "as well",
    "0 7 * * *": "as well, those of monitoring.md by test_monitoring_page.py",
    "kubectl": "needs a cluster; test_many_servers.py runs what the Job runs",
    "apt-get install": "no test changes the machine; the packages are those of scripts/quickstart",
    "python3 -m venv /opt": "test_build.py builds what is installed, and starts it",
    "scripts/slurm-first-copy": "test_slurm.py submits it to a real Slurm",
    "scripts/bench": "takes hours; unit/scripts/test_bench.py has its parts",
    "systemctl": "no test changes the machine's services; test_jobs.py has the units verified",
    "ssh standby": "needs two machines; cyrus/test_failover.py has their Cyruses",
    "rm /etc/cron.d/cyrsync": "no test changes the machine's cron",
    "mkdir /srv/rehearsal": "cyrus/test_promote.py promotes a replica and starts it",
    "rsync -aR /var/lib/cyrus": "as well",
    "sed -E": "as well",
    "install -d -o cyrus": "as well",
    "cyrsync promote -C /srv/rehearsal/imapd.conf": "as well",
    "cd /srv/rehearsal": "as well",
    "PATH=/usr/lib/cyrus/bin": "as well",
    "curl -u joe": "as well",
    "kill $(cat /srv/rehearsal/var/lib/cyrus/master.pid)": "as well",
    "cyrsync verify -C /srv/rehearsal/imapd.conf": "as well",
    "rm -r /srv/rehearsal": "as well",
}
#: Commands without cyrsync in them that are run, by how they begin.
OTHERS = ("ln -sf /opt", "find /usr/local/bin", "mkdir -p /mnt/backup/mail", "ssh-keygen ", "join ")
#: Pages with a test of their own, which runs their commands: test_history_page.py, cyrus/test_restore_into.py.
OWN_TEST = ("docs/history.md",)
#: How blocks begin that are no commands.
OTHER_BLOCKS = (
    "[",
    "sync_log: ",
    "groups:",
    "START {",
    "#!/bin/sh",
    "from=",
    "cyrsync: ",
    "expr: ",
    "map = ",
)
#: What has been done before the commands of a page, as it says.
BEFORE = {"docs/monitoring.md": ["cyrsync sync -C /etc/imapd.conf standby:/"]}
#: What commands say on standard error, by how they begin; the others say nothing.
SAY = {"cyrsync rsync -a --checksum": "cyrsync: plain rsync runs: --checksum "}
#: Options of other programs.
FOREIGN = {"--only": "scripts/bench", "--immutable": "rclone"}
#: Cyrus runs as whoever runs the tests.
ME = {"CYRUS_USER": pwd.getpwuid(os.getuid()).pw_name, "CYRUS_GROUP": grp.getgrgid(os.getgid()).gr_name}


class Stage:
    """What stands for the machines of the documents: a server, and directories for the other hosts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.server = Box("3.4.9-plain", root)
        for host in ("standby", "backup", "mail1", "replica", "bin", "metrics", "www", "reports"):
            (root / host).mkdir()
        (root / "ssh").mkdir()
        (root / "local" / "bin").mkdir(parents=True)
        (root / "local" / "share").mkdir()
        (root / "opt" / "share" / "man" / "man1").mkdir(parents=True)  # what is installed there: see test_build.py
        (root / "opt" / "bin").symlink_to(root / "bin")
        write_program(root / "bin" / "cyrsync", f'exec {python_words("-m", "cyrsync")} "$@"')
        write_program(root / "bin" / "systemctl", f'echo "$@" >>{root}/systemctl')
        self.env = plain_env({**ME, "CYRSYNC_STATE": str(root / "state"), "CYRSYNC_CONFIG": str(root / "cyrsync.toml")})
        self.env["PATH"] = f"{root}/bin:{self.env['PATH']}"

    def here(self, text: str) -> str:
        """A command or a file of the documents, with what is here in place of what it names."""
        spool, conf = f"{self.server.root}/spool", self.server.conf
        if " promote " in text:  # it is the standby's own imapd.conf, which leads to the replica
            conf = self.root / "standby.conf"
            there = self.server.conf.read_text().replace(
                f"{self.server.root}", f"{self.root}/standby{self.server.root}"
            )
            conf.write_text(there)
        for named, place in {
            "standby:/var/spool/cyrus/mail": f"{self.root}/standby{spool}",
            "standby:/var/spool/imap": f"{self.root}/standby{spool}",
            "standby:/": f"{self.root}/standby",
            "/mnt/backup/mail": f"{self.root}/disk/mail",
            "backup:/srv/mail1": f"{self.root}/backup",
            "backup:/srv/copy": f"{self.root}/copy",
            "mail1:/": f"{self.root}/mail1",
            "backup@primary:": "",
            "/opt/cyrsync": f"{self.root}/opt",
            "/usr/local": f"{self.root}/local",
            "/root/.ssh": f"{self.root}/ssh",
            "/var/lib/prometheus/node-exporter": f"{self.root}/metrics",
            "/var/lib/cyrsync/status.json": f"{self.root}/reports/mail1.json",
            "/srv/reports": f"{self.root}/reports",
            "/var/www/html": f"{self.root}/www",
            "/var/spool/cyrus/mail": spool,
            "/var/spool/imap": spool,
            "/srv/replica": f"{self.root}/replica",
            "/etc/imapd.conf": str(conf),
            "ann@example.org": "ann",
        }.items():
            text = text.replace(named, place)
        return text

    def with_conf(self, text: str) -> str:
        """A command that reads /etc/imapd.conf without saying so, saying so."""
        for name, *words in pages.cyrsyncs(text):
            asks = name in ("check", "inspect") or (name == "verify" and not any("/" in word for word in words))
            if asks and "-C" not in words:
                text = text.replace(f"cyrsync {name}", f"cyrsync {name} -C /etc/imapd.conf", 1)
        return text

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the documents by a shell."""
        command = self.here(self.with_conf(text))
        for words in pages.cyrsyncs(command):
            for word in words:
                if word.startswith(f"{self.root}/standby/"):
                    Path(word).mkdir(parents=True, exist_ok=True)  # DEST, or the directory that has it
        if " --watch " in text:
            return self.watch(command)
        argv = ["/bin/sh", "-c", command]
        return subprocess.run(
            argv, cwd=self.root, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    def watch(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command that does not end by itself until it has looked at everything."""
        argv = ["/bin/sh", "-c", f"exec {command}"]
        with subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            while run.poll() is None and not list((self.root / "state").glob("*.watch")):
                time.sleep(0.05)
            run.send_signal(signal.SIGTERM)
            out, err = run.communicate(timeout=60)
        return subprocess.CompletedProcess(argv, run.returncode, out, err)

    def write_jobs(self, lines: list[str]) -> None:
        (self.root / "cyrsync.toml").write_text(self.here("\n".join(lines)))


def is_elsewhere(text: str) -> bool:
    return any(text.startswith(beginning) for beginning in ELSEWHERE)


@pytest.mark.parametrize("page", [page for page in pages.PAGES if page not in OWN_TEST])
def test_every_command_is_run(page: str, tmp_path: Path) -> None:
    requires("rsync", "jq", "sh")
    stage = Stage(tmp_path)
    for text in BEFORE.get(page, ()):
        assert stage.run(text).returncode == 0
    for lines in pages.blocks(pages.text_of(page)):
        if lines[0].startswith(OTHER_BLOCKS):
            if lines[0].startswith("["):
                stage.write_jobs(lines)
            continue
        found = list(pages.commands(lines))
        assert found, lines
        for line in found:
            if is_elsewhere(line.text):
                continue
            assert line.text.startswith(OTHERS) or next(pages.cyrsyncs(line.text), None), (
                f"{line.text}: neither run nor explained"
            )
            done = stage.run(line.text)
            assert done.returncode == 0, (line.text, done.stderr)
            said = [words for beginning, words in SAY.items() if line.text.startswith(beginning)]
            assert done.stderr == "" if not said else done.stderr.startswith(said[0]), line.text


def test_what_is_run_elsewhere_is_in_the_documents() -> None:
    lines = [line for page in pages.PAGES for block in pages.blocks(pages.text_of(page)) for line in block]
    for beginning in ELSEWHERE:
        assert any(line.removeprefix("# ").startswith(beginning) for line in lines), beginning


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_option_exists(page: str) -> None:
    group: Any = typer.main.get_command(app)
    known = {opt for command in group.commands.values() for param in command.params for opt in param.opts}
    known |= {opt for param in group.params for opt in param.opts} | {"--help", "--install-completion"}
    spans = pages.code_spans(pages.text_of(page))
    named = {word for span in spans for word in span.split() if re.fullmatch(r"--?[a-z][\w-]*", word)}
    # Those of other programs stand behind their names.
    others = ("ssh ", "systemctl ", "kill ", "sync_client ", "GNU ")
    foreign = {word for span in spans if span.startswith(others) for word in span.split()}
    assert named - foreign - FOREIGN.keys() - {f"--{name}" for name in LONG} - {"-a"} <= known


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_command_named_in_the_text_exists(page: str) -> None:
    group: Any = typer.main.get_command(app)
    spans = [span for span in pages.code_spans(pages.text_of(page)) if span.startswith("cyrsync ")]
    assert {span.split()[1] for span in spans} <= {*group.commands, "COMMAND", "--install-completion"}


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_exit_code_exists(page: str) -> None:
    said = re.findall(r"\bexits? (?:with )?(\d+)", pages.prose(pages.text_of(page)))
    assert {int(code) for code in said} <= {int(code) for code in (*Exit, *CONNECTION_CODES)}


@pytest.mark.parametrize("page", pages.PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert "](http" not in pages.text_of(page)
    assert pages.broken_links(pages.PROJECT / page) == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", pages.text_of("README.md")))
    assert linked == {*pages.PAGES} - {"README.md"}


@pytest.mark.parametrize("page", pages.PAGES)
def test_files_of_the_project_that_it_names_exist(page: str) -> None:
    for span in pages.code_spans(pages.text_of(page)):
        if span.startswith("scripts/"):
            assert (pages.PROJECT / span.split()[0]).exists()


def test_the_readme_is_short() -> None:
    assert len(pages.text_of("README.md").split()) < 1600


def test_the_plugin_for_nagios(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    [plugin] = [b for b in pages.blocks(pages.text_of("docs/hot-spare.md")) if b[0] == "#!/bin/sh"]
    write_program(tmp_path / "plugin", stage.here("\n".join(plugin[1:])))
    words = [str(tmp_path / "plugin")]
    done = subprocess.run(words, env=stage.env, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:9]) == (2, "CRITICAL:")
    assert stage.run("cyrsync sync -C /etc/imapd.conf standby:/").returncode == 0
    done = subprocess.run(words, env=stage.env, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("OK: ")
