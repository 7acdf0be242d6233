"""Requests to an agent, checked where they are read.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

from typing import TYPE_CHECKING

from cyrsync.far import owner_file, wire

if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from cyrsync.far.output import Output

_MOST_PROGRAM = 64 << 20  # bytes of what an agent is taught


class Request:
    """One request: what it says, where more of it is read from, and where the answer goes."""

    @wire.one_error
    def __init__(self, fields: "dict[str, Any]", source: "BinaryIO", output: "Output") -> None:
        self.fields = fields
        self.root = wire.whole_path(fields["root"])
        self.source = source
        self.output = output

    @wire.one_error
    def paths(self) -> "list[bytes]":
        """Return paths below the root."""
        return [wire.path(path) for path in wire.list_of(self.fields["paths"])]

    @wire.one_error
    def whole_paths(self) -> "list[bytes]":
        """Return paths of the whole file system."""
        return [wire.whole_path(path) for path in wire.list_of(self.fields["paths"])]

    @wire.one_error
    def homes(self) -> "list[bytes]":
        """Return paths of the whole file system, as many as `whole_paths`."""
        homes = [wire.whole_path(path) for path in wire.list_of(self.fields["homes"])]
        if len(homes) != len(self.whole_paths()):
            raise wire.WireError("not as many homes as roots")
        return homes

    @wire.one_error
    def count(self, name: str) -> int:
        """Return a number that is not below 0."""
        return wire.number(self.fields[name], wire.MAX_SIZE)

    @wire.one_error
    def texts(self, name: str) -> "list[str]":
        """Return a list of text."""
        return [wire.text(text) for text in wire.list_of(self.fields[name])]

    @wire.one_error
    def flag(self, name: str) -> bool:
        """Return what is true or false."""
        return wire.flag(self.fields[name])

    @wire.one_error
    def program(self) -> bytes:
        """Read the program that follows the request."""
        return wire.read_data(self.source, self.fields["size"], _MOST_PROGRAM)

    @wire.one_error
    def owner_file(self) -> str:
        """Return an owner file as JSON."""
        return owner_file.from_json(wire.text(self.fields["owner_file"])).to_json()
