#!/usr/bin/env python3
"""Make a realistic Cyrus spool, and change it as a Cyrus server would: for quickstart, bench and tests.

Hashed name directories (`j/user/joe/Sent`), folder sizes of a heavy-tailed distribution, gaps in the UIDs,
`cyrus.index` of minor version 17 (Cyrus 3.3 to 3.8) whose GUIDs, counts and checksums are right.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sampleindex import (
    ANSWERED,
    EXPUNGED,
    FLAGGED,
    FLAGS_AT,
    GONE,
    HEADER_SIZE,
    RECORD,
    RECORD_SIZE,
    SEEN,
    UNLINKED,
    get,
    get_long,
    live_records,
    read_index,
    set_record,
    write_index,
)
from samplemail import USERS, mail

_PREAMBLE = (
    b"\xa1\x02\x8b\x0dCyrus mailbox header\n"
    b'"The best thing about this system was that it had lots of goals."\n\t--Jim Morris on Andrew\n'
)
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_YEARS = 5 * 365 * 86400
_BELOW_INBOX = ["", "Sent", "Trash", "Archive", "Archive/2023", "Drafts", "Entw&APw-rfe", "Sent Items", "Lists"]


class _Mail(NamedTuple):
    """A message whose file is there; `date` is in seconds, `size` in bytes."""

    uid: int
    date: int
    head: bytes
    size: int
    guid: bytes
    flags: int


def folders(root: Path) -> list[Path]:
    """Return every folder with a mailbox in it, sorted."""
    return sorted(Path(path) for path, _, names in os.walk(root) if "cyrus.index" in names)


def make(root: Path, messages: int, folder_count: int, *, seed: int = 1, size: int | None = None) -> None:
    """Make a spool of so many messages and folders, with mails of 1 to 3 kB, or all of about `size` bytes."""
    rng = random.Random(seed)
    weights = [rng.paretovariate(1.1) for _ in range(folder_count)]
    scale = messages / sum(weights)
    counts = [int(weight * scale) for weight in weights]
    counts[-1] += messages - sum(counts)
    for name, count in zip(_names(folder_count), counts, strict=True):
        folder = create_folder(root, name, rng=rng)
        deliver(folder, count, rng=rng, size=size, age=_YEARS, gaps=True)
        quiet_since = time.time() - rng.uniform(3600, 30 * 86400)
        for metadata in folder.glob("cyrus.*"):
            os.utime(metadata, (quiet_since, quiet_since))


def change(
    root: Path, *, new: float = 0, expunged: float = 0, flags: float = 0, seed: int = 2, size: int | None = None
) -> tuple[int, int, int]:
    """Deliver and expunge these shares of all messages, and set flags in this share of the folders.

    Return how many messages were delivered and expunged, and in how many folders flags were set.
    """
    rng = random.Random(seed)
    sizes = {folder: len(live_records(read_index(folder))) for folder in folders(root)}
    total, weights = sum(sizes.values()), [size + 1 for size in sizes.values()]
    delivered = Counter(rng.choices(list(sizes), weights, k=round(total * new)))
    expunging = Counter(rng.choices(list(sizes), weights, k=round(total * expunged)))
    flagged = rng.sample(list(sizes), round(len(sizes) * flags))
    for folder, count in delivered.items():
        deliver(folder, count, rng=rng, size=size)
    removed = sum(expunge(folder, count, rng=rng) for folder, count in expunging.items())
    for folder in flagged:
        set_flags(folder, rng=rng)
    return delivered.total(), removed, len(flagged)


def create_folder(root: Path, name: str, *, rng: random.Random | None = None) -> Path:
    """Make an empty mailbox `user/joe/Sent` under its hash letter."""
    rng = rng or random.Random()
    letter = name.split("/")[1][0].lower()
    folder = root / (letter if "a" <= letter <= "z" else "q") / name
    folder.mkdir(parents=True)
    _write_new(folder, rng, int(time.time()) - rng.randrange(_YEARS))
    return folder


def delete_folder(folder: Path) -> None:
    """Delete a mailbox at once (delete_mode immediate); folders below it stay."""
    for entry in list(folder.iterdir()):
        if not entry.is_dir():
            entry.unlink()
    if not os.listdir(folder):
        folder.rmdir()


def recreate_folder(folder: Path, count: int = 0, *, rng: random.Random | None = None) -> None:
    """Delete a mailbox and create it again: another uniqueid and UIDVALIDITY, and UIDs from 1."""
    rng = rng or random.Random()
    uidvalidity = get(read_index(folder), 44) + rng.randint(1, 1000)
    delete_folder(folder)
    folder.mkdir(exist_ok=True)
    _write_new(folder, rng, uidvalidity)
    deliver(folder, count, rng=rng)


def swap(left: Path, right: Path) -> None:
    """Swap two mailboxes by three renames; each keeps its uniqueid, UIDVALIDITY and the folders below it."""
    aside = left.with_name(left.name + "^aside")
    left.rename(aside)
    right.rename(left)
    aside.rename(right)
    pattern = re.compile(rb"(?<=%\(T el N )(?:\"[^\"]*\"|[^ ]*)")
    for folder in {*folders(left), *folders(right)}:
        header = (folder / "cyrus.header").read_bytes()
        replace_header(folder, pattern.sub(_mailbox(folder), header, count=1))


def deliver(
    folder: Path,
    count: int,
    *,
    rng: random.Random | None = None,
    size: int | None = None,
    age: float = 1800,
    gaps: bool = False,
) -> list[int]:
    """Add messages that arrived within the last `age` seconds; return their UIDs."""
    rng = rng or random.Random()
    index, now = read_index(folder), int(time.time())
    uid, validity, mails = get(index, 28), get(index, 44), list[_Mail]()
    prefix = os.path.join(os.fspath(folder), "")
    for date in sorted(now - int(rng.random() * age) for _ in range(count)):
        uid += 1 if not gaps or rng.random() < 0.9 else rng.randint(2, 12)
        head, body = mail(f"{uid}.{validity}", date, rng, size)
        _write_message(f"{prefix}{uid}.", head + body, date)
        guid, flags = hashlib.sha1(head + body).digest(), 0 if rng.random() < 0.2 else SEEN
        mails.append(_Mail(uid, date, head, len(head) + len(body), guid, flags))
    _append(folder, index, mails)
    return [one.uid for one in mails]


def move(source: Path, target: Path, count: int, *, rng: random.Random | None = None) -> int:
    """Move at most so many messages to another mailbox, by links; return how many it were."""
    rng = rng or random.Random()
    index, there = read_index(source), read_index(target)
    live = live_records(index)
    chosen = sorted(rng.sample(live, min(count, len(live))))
    mails = list[_Mail]()
    for uid, at in enumerate(chosen, start=get(there, 28) + 1):
        path = source / f"{get(index, at)}."
        content, size = path.read_bytes(), get(index, at + 16)
        date, flags = get(index, at + 4), get(index, at + FLAGS_AT)
        mails.append(_Mail(uid, date, content[:size], len(content), hashlib.sha1(content).digest(), flags))
        os.link(path, target / f"{uid}.")
    _append(target, there, mails)
    _expunge(source, index, chosen)
    return len(mails)


def _append(folder: Path, index: bytearray, mails: list[_Mail]) -> None:
    """Write the records of messages whose files are there."""
    modseq, now = get_long(index, 68), int(time.time())
    used, cache, records, cache_size = get_long(index, 32), [], [], (folder / "cyrus.cache").stat().st_size
    for uid, date, head, length, guid, flags in mails:
        modseq += 1
        cached, day = _cache_record(head), date // 86400 * 86400
        dates_and_sizes = (date, day, length, len(head), date, cache_size, now)
        record = RECORD.pack(
            uid, *dates_and_sizes, flags, bytes(16), date, 11, guid, modseq, 0, modseq, zlib.crc32(cached)
        )
        records.append(record + zlib.crc32(record).to_bytes(4, "big"))
        cache.append(cached)
        cache_size += len(cached)
        used += length
    with open(folder / "cyrus.cache", "ab") as stream:
        stream.writelines(cache)
    index += b"".join(records)
    last_uid = mails[-1].uid if mails else get(index, 28)
    struct.pack_into(">3I", index, 20, get(index, 20) + len(mails), now, last_uid)
    struct.pack_into(">Q", index, 32, used)
    write_index(folder, index, modseq)


def expunge(folder: Path, count: int, *, rng: random.Random | None = None) -> int:
    """Expunge at most so many messages (expunge_mode immediate), files and all; return how many it were."""
    index = read_index(folder)
    live = live_records(index)
    chosen = (rng or random.Random()).sample(live, min(count, len(live)))
    _expunge(folder, index, chosen)
    return len(chosen)


def _expunge(folder: Path, index: bytearray, chosen: list[int]) -> None:
    """Expunge the messages whose records begin there."""
    modseq, used = get_long(index, 68) + 1, get_long(index, 32)
    for at in chosen:
        set_record(index, at, get(index, at + FLAGS_AT) | GONE, modseq)
        used -= get(index, at + 12)
    struct.pack_into(">Q", index, 32, used)
    struct.pack_into(">I", index, 88, int(time.time()))
    write_index(folder, index, modseq)
    for at in chosen:
        (folder / f"{get(index, at)}.").unlink()


def copy(folder: Path, uids: Iterable[int], to: Path) -> list[int]:
    """Copy messages as IMAP's COPY does, by hard links; return their new UIDs."""
    old, index, copies = read_index(folder), read_index(to), []
    places = {get(old, at): at for at in range(HEADER_SIZE, len(old), RECORD_SIZE)}
    uid, modseq, cache = get(index, 28), get_long(index, 68), bytearray((to / "cyrus.cache").read_bytes())
    for number in uids:
        uid, modseq, at = uid + 1, modseq + 1, places[number]
        os.link(folder / f"{number}.", to / f"{uid}.")
        with open(folder / "cyrus.cache", "rb") as stream:
            stream.seek(get(old, at + 24))
            cached = bytearray(stream.read(12))
            cached += stream.read((get(cached, 8) + 3) // 4 * 4 + 28)
        record = bytearray(old[at : at + RECORD_SIZE])
        struct.pack_into(">I", record, 0, uid)
        struct.pack_into(">I", record, 24, len(cache))
        set_record(record, 0, get(record, FLAGS_AT) & ~GONE, modseq)
        struct.pack_into(">Q", index, 32, get_long(index, 32) + get(record, 12))
        cache += cached
        index += record
        copies.append(uid)
    (to / "cyrus.cache").write_bytes(cache)
    struct.pack_into(">I", index, 20, get(index, 20) + len(copies))
    struct.pack_into(">I", index, 28, uid)
    write_index(to, index, modseq)
    return copies


def remove(folder: Path, uids: Iterable[int], *, mode: str = "immediate") -> None:
    """Expunge these messages. With the mode `delayed` their files stay, with `semidelayed` only their records do."""
    index, wanted = read_index(folder), set(uids)
    modseq = get_long(index, 68) + 1
    for at in live_records(index):
        if get(index, at) in wanted:
            gone = EXPUNGED if mode == "delayed" else GONE
            set_record(index, at, get(index, at + FLAGS_AT) | gone, modseq)
            struct.pack_into(">Q", index, 32, get_long(index, 32) - get(index, at + 12))
            if mode != "delayed":
                (folder / f"{get(index, at)}.").unlink()
    struct.pack_into(">I", index, 88, int(time.time()))
    if mode == "immediate":
        records = [index[at : at + RECORD_SIZE] for at in range(HEADER_SIZE, len(index), RECORD_SIZE)]
        index[HEADER_SIZE:] = b"".join(one for one in records if not get(one, FLAGS_AT) & UNLINKED)
        struct.pack_into(">I", index, 20, (len(index) - HEADER_SIZE) // RECORD_SIZE)
        (folder / "cyrus.index.NEW").touch()
        (folder / "cyrus.index.NEW").replace(folder / "cyrus.index")
    write_index(folder, index, modseq)


def set_flags(folder: Path, *, rng: random.Random | None = None) -> None:
    """Change the flags of a few messages: `cyrus.index` changes in place, and keeps its size."""
    rng = rng or random.Random()
    index = read_index(folder)
    live = live_records(index)
    modseq = get_long(index, 68) + 1
    for at in rng.sample(live, min(5, len(live))):
        set_record(
            index,
            at,
            get(index, at + FLAGS_AT) ^ rng.choice([ANSWERED, FLAGGED, SEEN]),
            modseq,
        )
    write_index(folder, index, modseq)


def _names(count: int) -> Iterator[str]:
    """Yield users with some folders each; few have many."""
    for number in range(count):
        user, below = divmod(number, len(_BELOW_INBOX))
        login = USERS[user % len(USERS)] + (str(user // len(USERS)) if user >= len(USERS) else "")
        yield os.path.join("user", login, _BELOW_INBOX[below]).rstrip("/")


def _write_message(path: str, content: bytes, internal_date: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, content)
    os.utime(descriptor, (internal_date, internal_date))
    os.close(descriptor)


def _cache_record(head: bytes) -> bytes:
    """Ten items, each a length, the bytes and padding: here the header alone has bytes."""
    return struct.pack(">3I", 0, 0, len(head)) + head + bytes(-len(head) % 4) + bytes(28)


def _write_new(folder: Path, rng: random.Random, uidvalidity: int) -> None:
    """Write the metadata of an empty mailbox; every third has the header that Cyrus up to 3.4 writes."""
    owner = _mailbox(folder).strip(b'"').split(b".")[1]
    if rng.random() < 1 / 3:
        ident = bytes(b"%08x-%04x-4%03x-8%03x-%012x" % tuple(rng.getrandbits(bits) for bits in (32, 16, 12, 12, 48)))
        header = b"%suser.%s\t%s\n$Label1 \n%s\tlrswipkxtecdan\t\n" % (_PREAMBLE, owner, ident, owner)
    else:
        ident = "".join(rng.choices(_ALPHABET, k=24)).encode()
        header = b"%s%%(T el N %s I %s Q user.%s A %%(%s lrswipkxtecdan) U ($Label1))\n" % (
            *(_PREAMBLE, _mailbox(folder), ident, owner, owner),
        )
    index = bytearray(HEADER_SIZE)
    struct.pack_into(">5I", index, 0, 0, 0, 17, HEADER_SIZE, RECORD_SIZE)
    struct.pack_into(">I", index, 44, uidvalidity)
    struct.pack_into(">QI", index, 128, 1, 1)
    (folder / "cyrus.cache").write_bytes(bytes(4))
    (folder / "cyrus.index").write_bytes(index)
    replace_header(folder, header)


def _mailbox(folder: Path) -> bytes:
    """Return the internal name `user.joe.Sent` of a folder, as a dlist spells it."""
    path = os.fsencode(folder)
    name = path[path.rindex(b"/user/") + 1 :].replace(b"/", b".")
    return b'"%s"' % name if b" " in name else name


def replace_header(folder: Path, header: bytes) -> None:
    """Write cyrus.header by way of a new file, as Cyrus does, and its checksum into the index."""
    fresh = folder / "cyrus.header.NEW"
    fresh.write_bytes(header)
    fresh.replace(folder / "cyrus.header")
    index = read_index(folder)
    struct.pack_into(">I", index, 96, zlib.crc32(header))
    write_index(folder, index, get_long(index, 68))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a realistic Cyrus spool, or change one that this made.")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="make a spool in DIR")
    making.add_argument("--messages", type=int, default=2000, metavar="N")
    making.add_argument("--folders", type=int, default=40, metavar="M")
    changing = commands.add_parser("change", help="deliver, expunge and flag; make and delete folders")
    changing.add_argument("--new", type=float, default=0, metavar="SHARE", help="of all messages")
    changing.add_argument("--expunged", type=float, default=0, metavar="SHARE", help="of all messages")
    changing.add_argument("--flags", type=float, default=0, metavar="SHARE", help="of all folders")
    changing.add_argument("--create", default=[], action="append", metavar="user/joe/NAME")
    changing.add_argument("--delete", default=[], action="append", metavar="user/joe/NAME")
    for command in (making, changing):
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--size", type=int, metavar="BYTES", help="of each message; else 1 to 3 kB")
        command.add_argument("root", type=Path, metavar="DIR")
    return parser.parse_args()


def _main() -> None:
    options = _parse()
    if options.command == "make":
        make(options.root, options.messages, options.folders, seed=options.seed, size=options.size)
        return
    shares = {"new": options.new, "expunged": options.expunged, "flags": options.flags}
    delivered, expunged, flagged = change(options.root, **shares, seed=options.seed, size=options.size)
    for name in options.create:
        delivered += len(deliver(create_folder(options.root, name), 5, size=options.size))
    for name in options.delete:
        (folder,) = options.root.glob(f"?/{name}")
        delete_folder(folder)
    print(
        f"{delivered} messages delivered, {expunged} expunged, flags set in {flagged} folders, "
        f"{len(options.create)} folders created, {len(options.delete)} deleted"
    )


if __name__ == "__main__":
    _main()
