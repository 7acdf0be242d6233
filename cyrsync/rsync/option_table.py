"""Every option of rsync 3.0.0 to 3.5.0, and what each means for a run that is split into steps. Pure data.

One line an option: `name -flag alias / no-name no-alias : reason`. `name=` takes a text, `name#` a number.
The name is the oldest: any rsync with the option understands it. An option with a reason cannot be honoured
while it is switched on; the reason goes on where `--name` ends.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Takes(Enum):
    """What follows an option."""

    NOTHING = auto()
    TEXT = auto()
    NUMBER = auto()


class Role(Enum):
    """What cyrsync does with an option."""

    PASS = auto()  # for each rsync that sends files
    PRINT = auto()  # as PASS; and changes what is printed, and nothing else
    COMPARE = auto()  # as PASS; and only rsync knows whether a file is unchanged
    REACH = auto()  # as PASS; and any rsync needs it that talks to the same far end
    OWN = auto()  # cyrsync's own work, or at odds with it: never passed


class Known(NamedTuple):
    """An option that rsync has; a negation is one of its own, with the `subject` that it switches off."""

    name: str
    takes: Takes
    role: Role
    reason: str
    subject: str
    on: bool


_OWN = """
recursive -r / no-recursive no-r
inc-recursive i-r / no-inc-recursive no-i-r
delete
delete-before
delete-during del
delete-delay
delete-after
max-delete#
dry-run -n
dirs -d / no-dirs no-d : keeps rsync from walking the tree
old-dirs old-d : keeps rsync from walking the tree
relative -R / no-relative no-R : makes another tree on the replica
implied-dirs i-d / no-implied-dirs no-i-d
from0 -0 / no-from0
exclude=
include=
filter= -f
ignore-errors / no-ignore-errors
one-file-system -x / no-one-file-system no-x
size-only
old-args / no-old-args
"""

_PRINT = """
verbose -v / no-verbose no-v
info=
debug=
stderr=
msgs2stderr / no-msgs2stderr
quiet -q
stats
human-readable -h / no-human-readable no-h
progress / no-progress
itemize-changes -i / no-itemize-changes no-i
out-format= log-format
outbuf=
8-bit-output -8 / no-8-bit-output no-8
"""

_PASS = """
archive -a
-P
log-file=
log-file-format=
links -l / no-links no-l
hard-links -H / no-hard-links no-H
perms -p / no-perms no-p
owner -o / no-owner no-o
group -g / no-group no-g
devices / no-devices
specials / no-specials
-D / no-D
drop-D / no-drop-D
times -t / no-times no-t
omit-dir-times -O / no-omit-dir-times no-O
omit-link-times -J / no-omit-link-times no-J
open-noatime / no-open-noatime
numeric-ids / no-numeric-ids
sparse -S / no-sparse no-S
preallocate
whole-file -W / no-whole-file no-W
fuzzy -y / no-fuzzy no-y
block-size= -B
checksum-choice= cc
checksum-seed#
compress -z / no-compress no-z
old-compress
new-compress
compress-choice= zc
compress-level# zl
compress-threads# zt
skip-compress=
force / no-force
partial / no-partial
partial-dir=
delay-updates / no-delay-updates
temp-dir= -T
mkpath / no-mkpath
fsync
bwlimit= / no-bwlimit
max-alloc=
qsort
trust-sender
insecure-links / no-insecure-links
confine-root=
"""

_COMPARE = """
acls -A / no-acls no-A
xattrs -X / no-xattrs no-X
executability -E
crtimes -N / no-crtimes no-N
modify-window# -@
chmod=
chown=
usermap=
groupmap=
super
no-super
"""

_REACH = """
rsh= -e
rsync-path=
protect-args secluded-args -s / no-protect-args no-secluded-args no-s
blocking-io / no-blocking-io
protocol#
ipv4 -4
ipv6 -6
address=
port#
sockopts=
password-file=
early-input=
motd / no-motd
timeout# / no-timeout
contimeout# / no-contimeout
"""

_REFUSED = """
help : asks for rsync's help
version -V : asks for rsync's version
list-only : lists and copies nothing
checksum -c / no-checksum no-c : compares the contents of every file
ignore-times -I : sends every file again
update -u : keeps what is newer on the replica
existing ignore-non-existing : leaves out new files
ignore-existing : leaves out changed files
remove-source-files remove-sent-files : deletes from the source
max-size= : leaves out files by size
min-size= : leaves out files by size
atimes -U / no-atimes no-U : compares the access time of every file
inplace / no-inplace : leaves a cut-off file under its final name
append / no-append : leaves a cut-off file under its final name
append-verify : leaves a cut-off file under its final name
copy-devices : turns devices into files
write-devices / no-write-devices : writes into devices
backup -b / no-backup : keeps what is replaced and deleted
backup-dir= : keeps what is replaced and deleted
suffix= : keeps what is replaced and deleted
compare-dest= : looks into a third tree
copy-dest= : looks into a third tree
link-dest= : looks into a third tree
copy-links -L : follows symlinks
copy-dirlinks -k : follows symlinks
keep-dirlinks -K : follows symlinks
copy-unsafe-links : follows symlinks
safe-links : leaves out symlinks by their target
munge-links / no-munge-links : rewrites symlinks
prune-empty-dirs -m / no-prune-empty-dirs no-m : leaves out empty folders
delete-excluded : deletes what filters leave out
delete-missing-args : deletes on its own
ignore-missing-args : hides a source that is missing
files-from= : brings a list of its own
-F : reads rules from files in the tree
exclude-from= : reads rules from a file
include-from= : reads rules from a file
cvs-exclude -C : brings rules of its own
fake-super : keeps owners and modes in attributes that cyrsync does not read
copy-as= : switches users
remote-option= -M : gives the far rsync rules of its own
iconv= / no-iconv : renames files
stop-after= time-limit : ends rsync half-way
stop-at= : ends rsync half-way
read-batch= : copies from a batch file
write-batch= : records one rsync run
only-write-batch= : records one rsync run
server : is for rsync's other end
sender : is for rsync's other end
daemon : starts a daemon
config= : is for a daemon
dparam= : is for a daemon
detach : is for a daemon
no-detach : is for a daemon
"""

#: By name: all options and their negations.
KNOWN: dict[str, Known] = {}
#: By any spelling after two dashes, and by the letter after one.
LONG: dict[str, Known] = {}
SHORT: dict[str, Known] = {}
_MARKS = {"=": Takes.TEXT, "#": Takes.NUMBER}


def _enter(known: Known, spellings: list[str]) -> None:
    KNOWN[known.name] = known
    for spelling in spellings:
        if spelling.startswith("-"):
            SHORT[spelling[1:]] = known
        else:
            LONG[spelling] = known


def _read(table: str, role: Role) -> None:
    for line in table.strip().splitlines():
        spelled, _, reason = line.partition(" : ")
        positive, _, negative = spelled.partition(" / ")
        first, *others = positive.split()
        bare = first.rstrip("=#")
        name = bare.lstrip("-")
        takes = _MARKS.get(first[-1], Takes.NOTHING)
        _enter(Known(name, takes, role, reason, name, True), [bare, *others])
        if negations := negative.split():
            _enter(Known(negations[0], Takes.NOTHING, role, "", name, False), negations)


_read(_OWN, Role.OWN)
_read(_PRINT, Role.PRINT)
_read(_PASS, Role.PASS)
_read(_COMPARE, Role.COMPARE)
_read(_REACH, Role.REACH)
_read(_REFUSED, Role.PASS)
