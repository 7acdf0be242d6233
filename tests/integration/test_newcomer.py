"""The whole way of a newcomer in a clean Debian: each package is installed, used by its example, and removed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.debian import clean_debian
from support.overlay import Overlay, overlay
from support.packages import build, only
from support.servers import SampleServer
from support.tools import unavailable

#: A server, a job for it, and all that one does with that, whichever package it was.
USE = """
cp -a /tmp/given/mail /srv/mail
cp /srv/mail/imapd.conf /etc/imapd.conf
cyrsync --version
cyrsync config --example >/etc/cyrsync.toml
cyrsync config
cat >/etc/cyrsync.toml <<END
[spare]
source = "/etc/imapd.conf"
destination = "/srv/spare"
delete = true
END
cyrsync config
! cyrsync check @spare >/tmp/missing
$(grep -o 'mkdir -p .*' /tmp/missing)
cyrsync check @spare
cyrsync run
cyrsync run spare -v
cyrsync verify @spare -q
diff -r -x .cyrsync-replica /srv/mail/spool-default /srv/spare/srv/mail/spool-default
cyrsync status
cyrsync status @spare
"""
COMPLETION = "-F _cyrsync_completion cyrsync\n"
#: All that is called after cyrsync: but for what was given, the replica, and what man and dpkg themselves keep.
LEFT = """for kept in /tmp /srv /var/cache/man /var/lib/dpkg; do echo "-path $kept -o"; done >/tmp/kept
find / -xdev \\( $(cat /tmp/kept) -false \\) -prune -o -name '*cyrsync*' -print >/tmp/found
echo {}: $(sort /tmp/found)
"""
PACKAGE = f"""
cd /tmp/given
apt-get -qq update
apt-get -q -y install ./cyrsync_*.deb
cd /
{USE}
for page in $(dpkg -L cyrsync | grep /man/.*gz); do
    man $page | grep -q .
done
bash -ic 'source /usr/share/bash-completion/bash_completion; _completion_loader cyrsync; complete -p cyrsync'
_CYRSYNC_COMPLETE=complete_bash COMP_WORDS='cyrsync run sp' COMP_CWORD=2 cyrsync
systemd-analyze verify cyrsync@spare.service cyrsync-watch@spare.service cyrsync@spare.timer
systemctl enable cyrsync@spare.timer
systemctl is-enabled cyrsync@spare.timer
systemctl disable cyrsync@spare.timer
apt-get -q -y remove cyrsync
{LEFT.format("left")}
apt-get -q -y purge cyrsync
{LEFT.format("purged")}
"""
WHEEL = f"""
apt-get -qq update
apt-get -q -y install rsync python3-venv
python3 -m venv /opt/cyrsync
/opt/cyrsync/bin/pip install --no-index --find-links /tmp/given/wheels cyrsync
ln -sf /opt/cyrsync/bin/cyrsync /usr/local/bin/
cp -rsf /opt/cyrsync/share/man /usr/local/share/
{USE}
man 5 cyrsync.toml | grep -q .
bash -ic 'cyrsync --install-completion; cyrsync --version'
bash -ic 'complete -p cyrsync'
find /usr/local/bin /usr/local/share/man -lname '/opt/cyrsync/*' -delete && rm -r /opt/cyrsync
! find /usr/local -lname '*cyrsync*' | grep .
rm -r /var/lib/cyrsync /root/.bash_completions
{LEFT.format("left")}
"""
ONE_FILE = f"""
apt-get -qq update
apt-get -q -y install rsync python3
install /tmp/given/cyrsync.pyz /usr/local/bin/cyrsync
{USE}
rm -rf /usr/local/bin/cyrsync /root/.shiv /var/lib/cyrsync
{LEFT.format("left")}
"""


@pytest.mark.long
def test_newcomer(tmp_path: Path) -> None:
    """All in one test: the packages are built, and the Debian is made, once."""
    with clean_debian() as root:
        given = build(tmp_path / "given")
        server_in(given / "mail")
        wheels_in(given / "wheels", only(given, "*.whl"), root)
        with overlay(given, root) as debian:
            said = walk(debian, PACKAGE)
            assert COMPLETION in said
            assert "\nspare\n" in said
            assert "\nleft: /etc/cyrsync.toml /var/lib/cyrsync\n" in said
            assert said.endswith("\npurged: /etc/cyrsync.toml\n")
            said = walk(debian, WHEEL)
            assert COMPLETION in said
            assert said.endswith("\nleft: /etc/cyrsync.toml\n")
            assert walk(debian, ONE_FILE).endswith("\nleft: /etc/cyrsync.toml\n")


def server_in(directory: Path) -> None:
    """Make a server there that is to be in /srv/mail."""
    server = SampleServer(directory)
    server.conf.write_text(server.conf.read_text().replace(str(directory), "/srv/mail"))


def wheels_in(directory: Path, wheel: Path, root: Path) -> None:
    """Put there what pip needs to install the wheel in that Debian without a network."""
    words = ["apt-cache", "show", "--no-all-versions", "python3-minimal"]
    shown = subprocess.run(["chroot", root, *words], capture_output=True, text=True, check=True).stdout
    [version] = re.findall(r"^Version: (\d+\.\d+)", shown, re.MULTILINE)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--dest", directory]
    done = subprocess.run(
        [*pip, "--only-binary=:all:", "--python-version", version, wheel], capture_output=True, text=True, check=False
    )
    if "No matching distribution" in done.stderr:
        unavailable("no package index")
    assert done.returncode == 0, done.stderr


def walk(debian: Overlay, way: str) -> str:
    """Go that way, and return all that was said."""
    done = debian.run(way)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
