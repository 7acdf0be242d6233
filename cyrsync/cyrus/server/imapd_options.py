"""The options of `imapd.conf` that are known here: of what kind each is, and what holds where the file is silent.

From lib/imapoptions, version by version.
"""

from __future__ import annotations

Version = tuple[int, ...]

STRINGS = """
    caldav_alarm_db_path configdirectory defaultdomain defaultpartition defaultsearchtier deletedprefix
    mboxname_lockpath mboxname_userpath proc_path sharedprefix sieve_folder sievedir sync_log_channels
    sync_log_unsuppressable_channels sync_rightnow_channel temp_path tlscache_db_path userprefix
""".split()
SWITCHES = """
    altnamespace archive_enabled archive_keepflagged conversations cyrusdb_autoconvert fulldirhash global_lock
    hashimapspool mailbox_legacy_dirs object_storage_enabled reverseacls sieveusehomedir singleinstancestore statuscache
    sync_log sync_log_chain unixhierarchysep
""".split()
#: Kept as they stand, {configdirectory} included: durations, sizes and types of databases. A type this module has never
#: heard of is no error, since it is the file's first bytes that count.
PLAIN = "archive_after archive_days archive_maxsize tlscache_db".split()
#: One of these words (metapartition_files: any number), of whichever version.
ENUMS = {
    "delete_mode": "immediate delayed".split(),
    "expunge_mode": "default immediate semidelayed delayed".split(),
    "virtdomains": "off userid on".split(),
}
META_WORDS = "header index cache expunge squat annotations lock dav archivecache".split()
#: By the name in front of `_db` and `_db_path`: the file below configdirectory.
FILES = {
    "annotation": b"annotations.db",
    "duplicate": b"deliver.db",
    "mboxlist": b"mailboxes.db",
    "ptscache": b"ptclient/ptscache.db",
    "quota": b"quotas.db",
    "statuscache": b"statuscache.db",
    "tls_sessions": b"tls_sessions.db",
    "userdeny": b"user_deny.db",
    "zoneinfo": b"zoneinfo.db",
}
#: Every user has one of these, or every index, or nobody as long as there is no path.
NO_FILE = "conversations mboxkey search_indexed seenstate subscription sync_cache".split()
PLAIN += [name + "_db" for name in [*FILES, *NO_FILE]]
STRINGS += [name + "_db_path" for name in [*FILES, *NO_FILE]]
KNOWN = frozenset([*STRINGS, *SWITCHES, *PLAIN, *ENUMS, "metapartition_files"])
#: Old names: each counts as long as the new one is not in the file.
RENAMED = {
    "archive_days": "archive_after",
    "tlscache_db": "tls_sessions_db",
    "tlscache_db_path": "tls_sessions_db_path",
}
#: What holds where the file is silent, from a version on; the last that fits. Else a switch is off, the rest is "".
DEFAULTS: list[tuple[Version, str, str]] = [
    ((0,), "berkeley", "ptscache_db"),
    ((0,), "berkeley-nosync", "duplicate_db statuscache_db tls_sessions_db"),
    ((0,), "flat", "subscription_db userdeny_db"),
    ((0,), "quotalegacy", "quota_db"),
    ((0,), "skiplist", "annotation_db conversations_db mboxkey_db mboxlist_db seenstate_db"),
    ((0,), "twoskip", "search_indexed_db sync_cache_db zoneinfo_db"),
    ((2, 4), "skiplist", "duplicate_db ptscache_db statuscache_db tls_sessions_db"),
    ((2, 5), "twoskip", "annotation_db mboxkey_db mboxlist_db seenstate_db"),
    ((2, 5), "twoskip", "duplicate_db ptscache_db statuscache_db tls_sessions_db"),
    ((0,), "immediate", "delete_mode expunge_mode"),
    ((2, 4), "default", "expunge_mode"),
    ((2, 5), "delayed", "delete_mode expunge_mode"),
    ((0,), "default", "defaultpartition"),
    ((2, 3, 19), "", "defaultpartition"),
    ((0,), "on", "singleinstancestore"),
    ((3, 0), "on", "altnamespace unixhierarchysep"),
    ((3, 12), "on", "global_lock"),
    ((0,), "off", "virtdomains"),
    ((3, 0), "internal", "defaultdomain"),
    ((0,), "DELETED", "deletedprefix"),
    ((0,), "{configdirectory}", "mboxname_userpath"),
    ((0,), "/usr/sieve", "sievedir"),
    ((0,), "#sieve", "sieve_folder"),
    ((0,), "/tmp", "temp_path"),
    ((0,), "Shared Folders", "sharedprefix"),
    ((0,), "Other Users", "userprefix"),
    ((0,), "7d", "archive_after"),
    ((0,), "1024", "archive_maxsize"),
    ((2, 5), "squatter", "sync_log_unsuppressable_channels"),
]
