"""How much memory a run takes: so much, however large a mailbox or a file is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.peak import far_here, fill_index, let_it_be_sent, peak_of, state_file
from support.servers import SampleServer, below, sync_server

MILLION = 1_000_000


@pytest.mark.parametrize("far", [False, True], ids=["here", "far end"])
def test_a_new_message_in_a_mailbox_of_a_million(tmp_path: Path, far: bool) -> None:
    """Its index alone has 112 MB. Messages of before are neither there nor asked for: the state knows of them."""
    server = SampleServer(tmp_path / "server", messages=3, folder_count=1)
    (folder,) = server.folders()
    replica = tmp_path / "replica"
    replica.mkdir()
    words = ("-e", str(far_here(tmp_path)), f"there:{replica}") if far else (str(replica),)
    sync_server(server.conf, *words)
    content = b"Subject: one more\r\n\r\n"
    fill_index(folder, MILLION, content)
    (folder / f"{MILLION}.").write_bytes(content)
    let_it_be_sent(state_file(), os.fsencode(folder.relative_to(server.spool)), MILLION - 1)
    assert peak_of(tmp_path, "sync", "-C", server.conf, *words) < 150 << 20
    there = below(replica, folder)
    assert (there / f"{MILLION}.").read_bytes() == content
    assert (there / "cyrus.index").read_bytes() == (folder / "cyrus.index").read_bytes()


@pytest.mark.parametrize("far", [False, True], ids=["here", "far end"])
def test_a_large_file_of_the_configdirectory(tmp_path: Path, far: bool) -> None:
    server = SampleServer(tmp_path / "server", messages=3, folder_count=1)
    replica = tmp_path / "replica"
    replica.mkdir()
    words = ("-e", str(far_here(tmp_path)), f"there:{replica}") if far else (str(replica),)
    conversations = server.root / "conf/user/j/joe.conversations"
    conversations.parent.mkdir(parents=True)
    with conversations.open("wb") as file:
        for _ in range(150):
            file.write(os.urandom(1 << 20))
    assert peak_of(tmp_path, "sync", "-C", server.conf, *words) < 100 << 20
    assert below(replica, conversations).read_bytes() == conversations.read_bytes()
