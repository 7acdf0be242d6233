"""docs/many-servers.md, and the example for Kubernetes: what a cluster would start is started here, pod by pod."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.replicas import Pair
from support.servers import assert_sound
from support.tree import run_cyrsync, sync

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs/many-servers.md").read_text("utf-8")
BLOCKS = [
    re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^    .*\n)+", PAGE, re.MULTILINE)
]


@pytest.fixture
def job() -> dict[str, Any]:
    """The one object of the example."""
    [found] = yaml.safe_load_all((PROJECT / "scripts/kubernetes-first-copy.yaml").read_text("utf-8"))
    assert (found["apiVersion"], found["kind"]) == ("batch/v1", "Job")
    return dict(found)


def test_the_pods_send_all_and_a_run_takes_the_rest_over(job: dict[str, Any], tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    [container] = job["spec"]["template"]["spec"]["containers"]
    stand = {"/etc/imapd.conf": str(pair.conf), "standby:/": str(pair.replica)}
    assert container["command"] == ["cyrsync"] and set(stand) <= set(container["args"])
    for index in range(job["spec"]["completions"]):
        words = [stand.get(word, word) for word in container["args"]]
        # No pod has the state of another one.
        env = {"JOB_COMPLETION_INDEX": str(index), "CYRSYNC_STATE": str(tmp_path / f"state-{index}")}
        done = run_cyrsync(*words, env=env)
        assert done.returncode == 0, done
    assert sync("-C", pair.conf, "--full", pair.replica)["messages"]["send"] == 0
    pair.assert_same()
    assert_sound(pair.conf, pair.replica)


def test_the_job_is_one_that_kubernetes_takes(job: dict[str, Any]) -> None:
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    [container] = spec["template"]["spec"]["containers"]
    assert f"auto/{spec['completions']}" in container["args"]
    assert all(isinstance(word, str) for word in (*container["command"], *container["args"]))
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # as a podFailurePolicy wants it
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert volumes == {mount["name"] for mount in container["volumeMounts"]}
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/var/lib/cyrsync", "/tmp"}
    [rule] = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [2, 3, 4]


def test_the_commands_and_the_job_of_the_page(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    commands = re.findall(r"^# (cyrsync .*)$", "".join(BLOCKS), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = command.replace("/etc/imapd.conf", str(pair.conf)).replace("standby:/", str(pair.replica))
        done = run_cyrsync(*shlex.split(words)[1:])
        assert done.returncode == 0, done
    pair.assert_same()
    (table,) = (block for block in BLOCKS if block.startswith("[standby]"))
    (mapped,) = (block for block in BLOCKS if block.startswith("map = "))
    config = tmp_path / "cyrsync.toml"
    config.write_text(table + mapped)
    done = run_cyrsync("config", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_rule_and_the_reports_of_the_page(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    metrics = tmp_path / "m.prom"
    pair.sync("--metrics", metrics)
    (rule,) = (block for block in BLOCKS if block.startswith("- alert"))
    [found] = yaml.safe_load(rule)
    [name] = re.findall(r"cyrsync_\w+", found["expr"])
    assert f"\n{name}{{" in metrics.read_text()
    reports = tmp_path / "reports"
    reports.mkdir()
    lines = re.findall(r"^\*/5 \* \* \* \* \w+ (cyrsync status [^|\n]*)", "".join(BLOCKS), re.MULTILINE)
    report, page = lines
    done = run_cyrsync(*shlex.split(report)[1:])
    (reports / "mail1.json").write_text(done.stdout)
    words = page.replace("/home/status/reports", str(reports)).replace("/var/www/html", str(tmp_path))
    done = run_cyrsync(*shlex.split(words)[1:])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "1 replica, no problem" in (tmp_path / "cyrsync.html").read_text("utf-8")
