"""What is read of strace's output, which writes the calls of several processes among each other."""

from __future__ import annotations

from support.strace import parse, whole_lines

_WHOLE = b'7 execve("/usr/bin/python", ["python"], 0x1 /* 3 vars */) = 0'


def test_a_call_in_two_halves_is_one() -> None:
    lines = [
        b'7 execve("/usr/bin/python", ["python"], 0x1 /* 3 vars */ <unfinished ...>',
        b'8 unlink("/a" <unfinished ...>',
        b'9 unlink("/b") = 0',
        b"7 <... execve resumed>) = 0",
        b"8 <... unlink resumed>) = -1 ENOENT (No such file or directory)",
        b"9 +++ exited with 0 +++",
    ]
    whole = whole_lines(lines)
    assert whole[:3] == [_WHOLE, b'8 unlink("/a") = -1 ENOENT (No such file or directory)', b'9 unlink("/b") = 0']
    assert [call.path for line in whole if (call := parse(line))] == [b"/usr/bin/python", b"/a", b"/b"]


def test_a_half_without_its_other_is_kept_or_left_out() -> None:
    assert whole_lines([b"7 <... execve resumed>) = 0", b'7 unlink("/a" <unfinished ...>']) == [b'7 unlink("/a"']
