"""Which directory a mailbox has, and which files a user: names to paths and back. No file is looked at.

    [domain/[LETTER/]DOMAIN/] [LETTER/] user/USER/FOLDER/...     named after the mailbox: all versions
    uuid/a/b/ab...                                               after its uniqueid: 3.6 and newer, except type `l`

The letters are there with hashimapspool. Paths are bytes, relative, without a leading slash. Names are internal ones:
`example.com!user.john^doe.Sent`, where the dot separates, and `^` is a dot (imap/mboxname.c, mboxname_hash).
"""

import re

from cyrsync.cyrus.mailbox.user import DELETED, WORD_32, Place, full_hash, letters_fit
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.imapd_options import Version

#: From here on the letter is that of the name as people see it, `john.doe`, of which fulldirhash takes what is before
#: the dot. Up to 2.5 it was that of `john^doe`.
_DECODED = (3, 0)
#: Any but those that would lead out of the tree.
_UNIQUEID = re.compile(rb"[^/.\0][^/.\0][^/\0]*")


def mailbox_path(config: Config, name: bytes, uniqueid: bytes, legacy: bool) -> bytes:
    """Return the mailbox's directory below every root of its partition.

    `legacy` is the `l` of its type in mailboxes.db from 3.6 on, and true for all mailboxes of older versions.
    """
    if not legacy:
        return uuid_path(uniqueid)
    return legacy_path(name, config.hashimapspool, config.fulldirhash, config.version)


def letter(text: bytes, full: bool) -> bytes:
    """Return the letter of the directory that this goes into (lib/util.c, dir_hash_c); `full` is fulldirhash."""
    if full:
        return full_hash(text.partition(b".")[0], WORD_32)
    first = text[:1].lower()
    return first if b"a" <= first <= b"z" else b"q"


def legacy_path(name: bytes, hashed: bool, full: bool, version: Version) -> bytes:
    """Return the directory that is named after the mailbox; `hashed` is hashimapspool, `full` is fulldirhash.

    ValueError for a name that Cyrus refuses, and that would lead elsewhere.
    """
    domain, components = _split(name)
    path: list[bytes] = []
    if domain:
        path += [b"domain", letter(domain, full), domain] if hashed else [b"domain", domain]
    if hashed:
        named = components[:2][-1]
        path.append(letter(named.replace(b"^", b".") if version >= _DECODED else named, full))
    return b"/".join(path + components)


def uuid_path(uniqueid: bytes) -> bytes:
    """Return the directory that is named after the mailbox's uniqueid; ValueError for one that can't name any."""
    if not _UNIQUEID.fullmatch(uniqueid):
        raise ValueError(f"not a uniqueid: {uniqueid!r}")
    return b"/".join([b"uuid", uniqueid[:1], uniqueid[1:2], uniqueid])


def name_of_legacy(path: bytes, hashed: bool) -> "bytes | None":
    """Return the name of the mailbox that would have this directory under some version, None if there is none.

    Without hashimapspool, `domain/x/y` is the domain x's, though a mailbox `domain.x.y` would have it, too.
    """
    components = path.split(b"/")
    if b"" in components:
        return None
    domain_letter = domain = first = b""
    if components[0] == b"domain" and len(components) > (3 if hashed else 2):
        del components[0]
        domain_letter = components.pop(0) if hashed else b""
        domain = components.pop(0)
    if hashed:
        first = components.pop(0)
        if not components:
            return None
    elif components[0] == b"uuid" and _is_uuid(path):
        return None
    name = (domain + b"!" if domain else b"") + b".".join(components)
    try:
        # A dot or a `!` in a component would part the name elsewhere.
        fits = _split(name) == (domain, components) and letters_fit(Place(domain_letter, domain, first, components))
    except ValueError:
        return None
    return name if fits else None


def is_deleted(name: bytes, deletedprefix: bytes) -> bool:
    """Tell whether a mailbox waits for cyr_expire: `DELETED.` in front, the time of its deletion at the end."""
    components = cut(name)[1].split(b".")
    return len(components) > 2 and components[0] == deletedprefix


def user_of_name(name: bytes, deletedprefix: bytes = DELETED) -> "bytes | None":
    """Return whose mailbox this is or was (`joe`, `john.doe@example.com`), None for a shared one."""
    domain, local = cut(name)
    components = local.split(b".")
    if is_deleted(name, deletedprefix):
        components = components[1:-1]
    if len(components) < 2 or components[0] != b"user":
        return None
    user = components[1].replace(b"^", b".")
    return user + b"@" + domain if domain else user


def owner_of_name(name: bytes, deletedprefix: bytes) -> bytes:
    """Return the name of the INBOX that a mailbox belongs to, or of a shared one the uppermost that it is below."""
    domain, local = cut(name)
    components = local.split(b".")
    if is_deleted(name, deletedprefix):
        components = components[1:-1]
    owner = b".".join(components[: 2 if components[0] == b"user" else 1])
    return domain + b"!" + owner if domain else owner


def deleted_name(owner: bytes, deletedprefix: bytes) -> bytes:
    """Return the name that those have in front which were deleted of what `owner_of_name` returns."""
    domain, local = cut(owner)
    deleted = deletedprefix + b"." + local
    return domain + b"!" + deleted if domain else deleted


def external(name: bytes, separator: bytes) -> bytes:
    """Return the name as administrators write it: `user/john.doe/Sent@example.com`, or `user.joe.Sent`."""
    domain, local = cut(name)
    if separator == b"/":
        local = local.replace(b".", b"/").replace(b"^", b".")
    return local + b"@" + domain if domain else local


def user_file(name: bytes, suffix: bytes, full: bool, version: Version, uniqueid: bytes = b"") -> bytes:
    """Return the path below `Config.userpath` of a user's file: `sub`, `seen`, `counters`, `conversations`, `dav`...

    `name` is any live mailbox of the user, or a shared one; the uniqueid is that of the user's INBOX, if it has its
    directory by it (3.6 and newer). Always with a letter, whatever hashimapspool says.
    """
    if uniqueid:
        return b"user/" + uuid_path(uniqueid) + b"/" + suffix + b".db"
    domain, components = _split(name)
    top = _domain_directory(domain, full)
    if components[0] != b"user" or len(components) < 2:
        return top + b"shared." + suffix
    user = components[1].replace(b"^", b".") if version >= _DECODED else components[1]
    return b"%suser/%s/%s.%s" % (top, letter(user, full), user, suffix)


def quota_file(root: bytes, full: bool) -> bytes:
    """Return the path below configdirectory of a quota root's file, with `quota_db: quotalegacy`.

    Always with a letter, in every version that of the name as it is inside Cyrus (lib/cyrusdb_quotalegacy.c).
    """
    # A root of a whole domain has nothing behind its `!`.
    domain, components = _split(root + b"root" if root.endswith(b"!") else root)
    top = _domain_directory(domain, full) + b"quota/"
    if root.endswith(b"!"):
        return top + b"root"
    return b"%s%s/%s" % (top, letter(components[:2][-1], full), b".".join(components))


def lock_file(lockname: bytes, hashed: bool, full: bool, version: Version) -> bytes:
    """Return the path below `Config.lock_directory` of a name's lock (2.4 and newer): of a mailbox, or of `*U*joe`."""
    return legacy_path(lockname, hashed, full, version) + b".lock"


def cut(name: bytes) -> "tuple[bytes, bytes]":
    """Return the domain, b"" for none, and the rest."""
    before, mark, after = name.partition(b"!")
    return (before, after) if mark else (b"", name)


def _split(name: bytes) -> "tuple[bytes, list[bytes]]":
    """Return the domain, b"" for none, and the components of the rest; ValueError for what is no name."""
    domain, local = cut(name)
    if not local or b"/" in name or b"\0" in name or (domain and not domain.strip(b".")):
        raise ValueError("not a mailbox's name: " + name.decode("utf-8", "backslashreplace"))
    return domain, local.split(b".")


def _domain_directory(domain: bytes, full: bool) -> bytes:
    return b"domain/%s/%s/" % (letter(domain, full), domain) if domain else b""


def _is_uuid(path: bytes) -> bool:
    last = path.rpartition(b"/")[2]
    return bool(_UNIQUEID.fullmatch(last)) and uuid_path(last) == path
