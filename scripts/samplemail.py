"""The mails of sample spools, and whose they are."""

from __future__ import annotations

import random
import time
from functools import cache

USERS = "joe ann bob eve kim lou max ned ola pat quin rosa sam tom uma vic will xena yara zoe".split()
_WORDS = b"mail spool replica folder message the of and to a in that is was he for it with as his on be at".split()


def mail(ident: str, date: int, rng: random.Random, size: int | None) -> tuple[bytes, bytes]:
    """Return the header and the body of a mail of 1 to 3 kB, or of about `size` bytes; `date` is in seconds."""
    head = f"Message-ID: <{ident}@example.org>\r\n"
    if size is not None:
        return f"{head}\r\n".encode(), b"x" * max(0, size - len(head) - 2)
    sender, to = rng.choice(USERS), rng.choice(USERS)
    head = (
        f"Return-Path: <{sender}@example.org>\r\n"
        f"Received: from mx.example.org (mx.example.org [192.0.2.{rng.randrange(256)}])\r\n"
        f"\tby imap.example.org (Postfix) with ESMTP id {rng.getrandbits(40):010X}\r\n{head}"
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime(date))}\r\n"
        f"From: {sender.title()} <{sender}@example.org>\r\nTo: {to}@example.org\r\nSubject: Message {ident}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    return head.encode(), b"".join(rng.choices(_lines(), k=rng.randint(10, 45)))


@cache
def _lines() -> list[bytes]:
    """Return what mails consist of: to make each line of them anew would take most of the time."""
    rng = random.Random(1)
    return [b" ".join(rng.choices(_WORDS, k=12)) + b"\r\n" for _ in range(1000)]
