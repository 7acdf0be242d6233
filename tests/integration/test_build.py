"""What scripts/build makes: a wheel, an sdist, one file that runs with nothing installed, and a Debian package."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import samplespool
from support.overlay import overlay
from support.packages import PROJECT, build, only
from support.pages import broken_links
from support.sshd import Sshd
from support.tools import requires
from support.tree import assert_same_tree, plain_env

#: What a newcomer does with the package, step by step; then it is removed, and at last nothing of it is there.
WAY = """
package=$(echo /tmp/given/*.deb)
dpkg -i $package
cyrsync --version
man -w cyrsync cyrsync.toml
bash -c 'source /usr/share/bash-completion/completions/cyrsync; complete -p cyrsync'
_CYRSYNC_COMPLETE=complete_bash COMP_WORDS='cyrsync stat' COMP_CWORD=1 cyrsync
cp -a /tmp/given/spool /srv/spool
cp /usr/share/doc/cyrsync/examples/cyrsync.toml /etc/cyrsync.toml
cyrsync config
printf '[one]\\nsource = "/srv/spool"\\ndestination = "/srv/replica"\\n' >/etc/cyrsync.toml
PYTHONPATH=/srv/nothing cyrsync run
cyrsync verify @one -q
cyrsync status @one
diff -r -x .cyrsync-replica /srv/spool /srv/replica
systemd-analyze verify cyrsync@one.service cyrsync-watch@one.service cyrsync@one.timer
[ -e /usr/lib/cyrsync/cyrsync/__pycache__ ]
dpkg -i $package
dpkg --verify cyrsync
dpkg -r cyrsync
[ -d /var/lib/cyrsync ]
find /usr /lib /etc -name '*cyrsync*' >/tmp/left
echo left: $(cat /tmp/left)
dpkg -P cyrsync
find /usr /lib /etc /var/lib -xdev -name '*cyrsync*' >/tmp/left
echo purged: $(cat /tmp/left)
"""


def test_build(tmp_path: Path, sshd: Sshd) -> None:
    """All in one test: to build takes long, and is done once, whoever runs the tests side by side."""
    built = build(tmp_path / "built")
    the_wheel_has_the_man_pages_and_every_module(built)
    the_description_needs_no_other_file(built)
    no_link_leads_nowhere(built, tmp_path)
    the_sdist_can_be_tested(built)
    one_file_is_all_that_is_needed(built, tmp_path, sshd)
    lintian_has_no_errors(built)
    if os.geteuid() == 0:  # nobody else can install it
        the_package_is_installed_used_and_removed(built)


def the_wheel_has_the_man_pages_and_every_module(built: Path) -> None:
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        names = wheel.namelist()
    share = [name.partition("/data/")[2] for name in names if "/data/" in name]
    assert {f"share/man/man{path.suffix[1]}/{path.name}" for path in (PROJECT / "man").iterdir()} <= set(share)
    assert {f"share/doc/cyrsync/docs/{path.name}" for path in (PROJECT / "docs").iterdir()} <= set(share)
    modules = {str(path.relative_to(PROJECT)) for path in (PROJECT / "cyrsync").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def the_description_needs_no_other_file(built: Path) -> None:
    """Whoever shows it has nothing but the text."""
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        [metadata] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        text = wheel.read(metadata).decode()
    assert "share/doc/cyrsync" in text and "docs/hot-spare.md" in text
    assert re.findall(r"\]\((?!https?:)[^)]*\)|<img|<source", text) == []


def no_link_leads_nowhere(built: Path, tmp_path: Path) -> None:
    """What is installed is all that there is: no other file, no address of the project."""
    debian, wheel = tmp_path / "debian", tmp_path / "wheel"
    subprocess.run(["dpkg-deb", "--extract", only(built, "*.deb"), debian], check=True)
    with zipfile.ZipFile(only(built, "*.whl")) as archive:
        archive.extractall(wheel)
    for share in (debian / "usr" / "share", *wheel.glob("*.data/data/share")):
        found = sorted((share / "doc" / "cyrsync").rglob("*.md"))
        assert {"README.md", "CHANGELOG.md", "hot-spare.md"} <= {path.name for path in found}
        assert {path.name: broken for path in found if (broken := broken_links(path))} == {}
        for page in sorted((share / "man").rglob("*.[15]*")):
            text = (gzip.decompress(page.read_bytes()) if page.suffix == ".gz" else page.read_bytes()).decode()
            text = text.replace("\\-", "-")
            for name in re.findall(r"share/(doc/cyrsync[\w/.-]*)", text):
                assert (share / name).exists(), (page.name, name)
            for other, section in re.findall(r"^\.BR (cyrsync[\w.-]*) \((\d)\)", text, re.MULTILINE):
                assert list((share / f"man/man{section}").glob(f"{other}.{section}*")), (page.name, other)


def the_sdist_can_be_tested(built: Path) -> None:
    with tarfile.open(only(built, "*.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"scripts/test", "scripts/cyrsync@.service", "tests/conftest.py", "man/cyrsync.toml.5", "setup.py"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def one_file_is_all_that_is_needed(built: Path, tmp_path: Path, sshd: Sshd) -> None:
    """Started by a Python that has none of our packages."""
    base = Path(sys.base_prefix) / "bin" / "python3"
    command = [str(base if base.exists() else sys.executable), "-I", str(built / "cyrsync.pyz")]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "CYRSYNC_STATE": os.environ["CYRSYNC_STATE"]}
    with zipfile.ZipFile(built / "cyrsync.pyz") as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".pyc"))]
        assert [name for name in archive.namelist() if name.startswith("site-packages/tomli/")]
    samplespool.make(tmp_path / "spool", 20, 4)
    config = tmp_path / "cyrsync.toml"
    jobs = (("here", tmp_path / "here", ""), ("there", sshd.at(tmp_path / "there"), f'rsh = "{sshd.rsh}"'))
    config.write_text(
        "".join(f'[{n}]\nsource = "{tmp_path}/spool"\ndestination = "{to}"\n{more}\n' for n, to, more in jobs)
    )
    for words in (["run", "--config", str(config)], ["verify", "--config", str(config), "@here", "-q"]):
        done = subprocess.run([*command, *words], env=env, capture_output=True, text=True, cwd="/", check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_same_tree(tmp_path / "spool", tmp_path / "here")
    assert_same_tree(tmp_path / "spool", tmp_path / "there")


def lintian_has_no_errors(built: Path) -> None:
    requires("lintian")
    words = ["lintian", "--allow-root", "--fail-on", "error", only(built, "*.deb")]
    done = subprocess.run(words, env=plain_env(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def the_package_is_installed_used_and_removed(built: Path) -> None:
    """The jobs, which the package has never had, stay, and so does the state until a purge."""
    requires("man", "py3compile", "systemd-analyze")
    samplespool.make(built / "spool", 20, 4)
    with overlay(built) as debian:
        done = debian.run(WAY)
    assert done.returncode == 0, done.stderr
    assert "\nleft: /etc/cyrsync.toml\n" in done.stdout
    assert done.stdout.endswith("\npurged: /etc/cyrsync.toml\n")
    assert "\nstatus\n" in done.stdout
    for line in ("/usr/share/man/man1/cyrsync.1.gz", "/usr/share/man/man5/cyrsync.toml.5.gz", "cyrsync 0.1.0 "):
        assert line in done.stdout
