"""Carrying a plan out on any replica makes it the source, for any two trees: a model of both, and of rsync."""

from __future__ import annotations

import errno
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox.entry import SNAPSHOT, is_message, is_metadata
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Entry, Folder, Incarnation, join, sort_key
from cyrsync.far.message_files import MessageFiles
from cyrsync.spool.walk_engine import WalkEngine
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.policy import Policy
from support import campaign


class Node(NamedTuple):
    """A file or a folder. What `lstat` shows is made of `looks`, what is inside of `content`."""

    kind: int
    looks: int
    content: object = None


NEW_FOLDER = Node(stat.S_IFDIR, -1)


@dataclass
class Tree:
    """A side as a flat model: every path with its node, every mailbox with what its header and index say."""

    nodes: dict[bytes, Node] = field(default_factory=dict)
    mailboxes: dict[bytes, Incarnation] = field(default_factory=dict)
    problems: set[bytes] = field(default_factory=set)

    def folders(self) -> Iterator[Folder]:
        """List the tree as the walk does."""
        paths = [path for path, node in self.nodes.items() if node.kind == stat.S_IFDIR]
        for path in sorted(paths, key=sort_key):
            if not any(path != top and is_below(path, top) for top in self.problems):
                yield Folder(path, problem=errno.EACCES) if path in self.problems else self._folder(path)

    def _folder(self, path: bytes) -> Folder:
        inside = {child.rpartition(b"/")[2]: node for child, node in self.nodes.items() if is_child(child, path)}
        files = {name: node for name, node in inside.items() if node.kind != stat.S_IFDIR}
        return Folder(
            path,
            attributes=entry(self.nodes[path]),
            messages=MessageFiles(b"".join(name for name in files if is_message(name))),
            metadata={name: entry(node) for name, node in files.items() if is_metadata(name)},
            other_files={n: entry(node) for n, node in files.items() if not is_metadata(n) and not is_message(n)},
            folders=tuple(sorted(name for name, node in inside.items() if node.kind == stat.S_IFDIR)),
            incarnation=self.mailboxes.get(path),
        )

    def kind(self, path: bytes) -> int:
        """Tell what is there, 0 for nothing."""
        return self.nodes[path].kind if path in self.nodes else 0

    def put(self, path: bytes, other: Tree) -> None:
        """Do what rsync does for one entry: take it over, with what has to make way, and the folders above it."""
        parts = path.split(b"/")
        for length in range(len(parts)):
            above = b"/".join(parts[:length])
            if self.kind(above) != stat.S_IFDIR:
                self.nodes[above] = NEW_FOLDER
        if not other.kind(path) == self.kind(path) == stat.S_IFDIR:
            self.drop(path)
        self.nodes[path] = other.nodes[path]

    def drop(self, top: bytes) -> None:
        """Remove a file, or a folder and all that is in it."""
        for path in [path for path in self.nodes if is_below(path, top)]:
            del self.nodes[path]


def entry(node: Node) -> Entry:
    size = 0 if node.kind == stat.S_IFDIR else 7
    return Entry(node.kind | 0o700, size, node.looks, "0:0:root:root", "x" if node.kind == stat.S_IFLNK else "")


def is_child(path: bytes, folder: bytes) -> bool:
    return bool(path) and path.rpartition(b"/")[0] == folder and path != folder


def is_below(path: bytes, top: bytes) -> bool:
    """Whether `path` is `top` or below it."""
    return not top or path == top or path.startswith(top + b"/")


FOLDER_NAMES = [b"a", b"a-b", b"5.", b"007.", b"cyrus.x", b"x"]
FILE_NAMES = [b"1.", b"2.", b"3.", b"5.", b"8.", b"007.", b"cyrus.cache", b"cyrus.x", b"x", b"a"]
MAILBOXES = [("one", 1), ("one", 2), ("two", 1)]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree in which a message of one mailbox incarnation is the same wherever it is, if the index knows it."""
    tree = Tree({b"": Node(stat.S_IFDIR, draw(st.integers(0, 1)))})
    for _ in range(draw(st.integers(0, 4))):
        above = draw(st.sampled_from(sorted(path for path, n in tree.nodes.items() if n.kind == stat.S_IFDIR)))
        if above.count(b"/") < 2:
            path = join(above, draw(st.sampled_from(FOLDER_NAMES)))
            tree.nodes[path] = Node(stat.S_IFDIR, draw(st.integers(0, 1)))
    for folder in [path for path, node in tree.nodes.items() if node.kind == stat.S_IFDIR]:
        _fill(draw, tree, folder)
    return tree


def _fill(draw: st.DrawFn, tree: Tree, folder: bytes) -> None:
    mailbox = None
    if draw(st.booleans()):
        mailbox = Incarnation(*draw(st.sampled_from(MAILBOXES)), draw(st.sampled_from([0, 2, 5, 9])))
        tree.mailboxes[folder] = mailbox
        looks = 100 + MAILBOXES.index(mailbox[:2])
        tree.nodes[join(folder, b"cyrus.header")] = Node(stat.S_IFREG, looks, looks)
        tree.nodes[join(folder, b"cyrus.index")] = Node(stat.S_IFREG, 10 * looks + mailbox.last_uid, mailbox)
    for name in draw(st.lists(st.sampled_from(FILE_NAMES), max_size=6)):
        path = join(folder, name)
        if path not in tree.nodes:
            tree.nodes[path] = _file(draw, name, mailbox)


def _file(draw: st.DrawFn, name: bytes, mailbox: Incarnation | None) -> Node:
    looks = draw(st.integers(0, 1))
    if mailbox and is_message(name) and (name == b"007." or int(name[:-1]) <= mailbox.last_uid):
        return Node(stat.S_IFREG, 0, (*mailbox[:2], name))  # looks tell nothing of whose message it is
    if is_message(name):
        return Node(stat.S_IFREG, looks, looks)
    return Node(draw(st.sampled_from([stat.S_IFREG, stat.S_IFREG, stat.S_IFLNK])), looks, looks)


def carry_out(plans: list[FolderPlan], source: Tree, replica: Tree) -> None:
    """Do what the steps of a transfer do."""
    for plan in plans:
        for name in messages(plan, source):
            replica.put(join(plan.path, name), source)
    for plan in plans:
        for name in (*plan.metadata, *plan.other_files):
            replica.put(join(plan.path, name), source)
        if plan.touch:
            replica.put(plan.path, source)
    for plan in plans:
        delete(plan, replica)
    # rsync sets the attributes of the folders above what it sends, too; and deletions keep times.
    for path, node in source.nodes.items():
        if replica.nodes.get(path) == NEW_FOLDER:
            replica.nodes[path] = node


def messages(plan: FolderPlan, source: Tree) -> list[bytes]:
    """Name what the message step takes along: of a whole folder, all but what goes last."""
    if plan.whole:
        inside = [path.rpartition(b"/")[2] for path in source.nodes if is_child(path, plan.path)]
        return [name for name in inside if name not in SNAPSHOT]
    return [*uid_sets.file_names(plan.uids), *plan.nonstandard, *plan.derived]


def delete(plan: FolderPlan, replica: Tree) -> None:
    """Delete files, or a folder; a file of the source may have taken the latter's place by now."""
    if plan.state is State.GONE and not plan.inside_gone and replica.kind(plan.path) == stat.S_IFDIR:
        replica.drop(plan.path)
    for name in (*uid_sets.file_names(plan.delete_uids), *plan.delete_files):
        assert replica.kind(join(plan.path, name)) not in (0, stat.S_IFDIR)
        replica.drop(join(plan.path, name))


def waiting(tree: Tree) -> set[bytes]:
    """Messages that the index does not know yet."""
    return {
        path
        for folder, mailbox in tree.mailboxes.items()
        for path, node in tree.nodes.items()
        if is_child(path, folder) and is_message(name := path.rpartition(b"/")[2]) and node.kind != stat.S_IFDIR
        if name != b"007." and int(name[:-1]) > mailbox.last_uid
    }


def copy(tree: Tree) -> Tree:
    return Tree(dict(tree.nodes), dict(tree.mailboxes), set(tree.problems))


@settings(max_examples=campaign.amount(100, long=1000))
@given(trees(), st.none() | trees(), st.booleans(), st.data())
def test_the_replica_becomes_the_source(
    source: Tree, other: Tree | None, one_by_one: bool, data: st.DataObject
) -> None:
    before = other or Tree()
    below_root = [path for path, node in source.nodes.items() if path and node.kind == stat.S_IFDIR]
    if below_root:
        source.problems = set(data.draw(st.lists(st.sampled_from(below_root), max_size=1)))
    replica = copy(before)
    engine = WalkEngine(Policy(one_by_one=one_by_one))
    plans = list(engine.plans(source.folders(), before.folders()))
    carry_out(plans, source, replica)
    unknown = {path for path in {*source.nodes, *before.nodes} if any(is_below(path, top) for top in source.problems)}
    excepted = waiting(source) | unknown
    expected = {path: node for path, node in source.nodes.items() if path not in excepted}
    assert {path: node for path, node in replica.nodes.items() if path not in excepted} == expected
    for path in unknown - source.problems:  # those come along with a folder that goes as a whole, without content
        replaced = any(before.kind(above) not in (0, stat.S_IFDIR) for above in above_of(path))
        assert replaced or replica.nodes.get(path) == before.nodes.get(path)
    made_way = any(
        node.kind == stat.S_IFDIR and source.nodes.get(path, node).kind != stat.S_IFDIR and path not in excepted
        for path, node in before.nodes.items()
    )
    assert engine.in_the_way or not made_way


def above_of(path: bytes) -> Iterator[bytes]:
    while path:
        path = path.rpartition(b"/")[0]
        yield path


@given(trees(), st.none() | trees())
def test_a_second_run_finds_only_what_is_never_assumed(source: Tree, other: Tree | None) -> None:
    before = other or Tree()
    replica = copy(before)
    carry_out(list(WalkEngine(Policy()).plans(source.folders(), before.folders())), source, replica)
    replica.mailboxes = source.mailboxes
    late = waiting(source)
    for plan in WalkEngine(Policy()).plans(source.folders(), replica.folders()):
        assert plan.state in (State.SAME, State.COMPARED) or any(is_child(path, plan.path) for path in late)
        assert not plan.metadata
        assert plan.whole or not plan.derived
        assert not plan.other_files
        assert not plan.touch
        assert not plan.deletes()
        assert plan.state is State.COMPARED or plan.messages_send == 0


@campaign.slow()
@given(trees(), trees())
def test_what_is_counted_is_what_is_planned(source: Tree, replica: Tree) -> None:
    for one_by_one in (False, True):
        plans = list(WalkEngine(Policy(one_by_one=one_by_one)).plans(source.folders(), replica.folders()))
        for plan in plans:
            assert plan.whole or plan.messages_send == len(plan.uids) + len(plan.nonstandard)
            assert plan.messages_seen >= plan.messages_present + plan.messages_waiting + plan.messages_send
            assert plan.uids == array("I", sorted(plan.uids))
            assert plan.delete_uids == array("I", sorted(plan.delete_uids))
        seen = [path for path in source.nodes if is_message(path.rpartition(b"/")[2])]
        files = [path for path in seen if source.nodes[path].kind != stat.S_IFDIR]
        assert sum(plan.messages_seen for plan in plans) == len(files)
