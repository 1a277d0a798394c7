"""The shape of the code: files, lines, imports between rooms, circles, and the longest chain.

A room is a folder of `sarheight`, or a module beside them. An import is a leak where it takes a
private module or a private name of another room, and goes upward where it takes what comes later
in `LINE`. Imports within functions count, and so do those for type checkers only.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import networkx as nx
from rich.console import Console
from rich.table import Table

from benchmarks._command import options, tell

__all__ = ["LINE", "Import", "circles", "imports", "leaks", "longest_chain", "main", "upward"]

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "sarheight": ROOT / "sarheight",
    "sarheight_kernels": ROOT / "kernels/sarheight_kernels",
}
LINE = (
    ("errors",),
    ("_runtime",),
    ("_files",),
    ("_hdf5",),
    ("_windows",),
    ("_rasters",),
    ("_zarr",),
    ("ellipsoid",),
    ("_state_vectors",),
    ("orbit",),
    ("ground_range",),
    ("doppler",),
    ("grid",),
    ("scene",),
    ("acquisition",),
    ("dem",),
    ("geometry",),
    ("illumination",),
    ("layover",),
    ("coregistration",),
    ("product",),
    ("sentinel1",),
    ("nisar",),
    ("sicd",),
    ("fetch",),
    ("archives",),
    ("plot",),
    ("output",),
    ("series",),
    ("workflow",),
    ("openeo",),
    ("learning",),
    ("terrain", "buildings", "zones"),
    ("view",),
    ("cli",),
)
"""The rooms in order: none imports one of a later entry, or of its own."""
RANK = {room: rank for rank, rooms in enumerate(LINE) for room in rooms}


@dataclass(frozen=True)
class Import:
    """One name that a module imports from another module of the project."""

    importer: str  # full name of the importing module
    module: str  # full name of the imported module
    name: str | None  # the imported name; None for the module itself
    line: int

    def __str__(self) -> str:
        """Write it as a message does."""
        name = "" if self.name is None else f".{self.name}"
        return f"{self.importer}:{self.line} imports {self.module}{name}"


def room_of(module: str) -> str:
    """Return the room of a module of `sarheight`; the package itself for kernels."""
    parts = module.split(".")
    return parts[1] if parts[0] == "sarheight" and len(parts) > 1 else parts[0]


@cache
def modules() -> dict[str, Path]:
    """List all modules of both packages by their full names."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    """List what modules of the project import from each other."""
    known, found = modules(), []
    for importer, path in known.items():
        for statement in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                continue
            base = statement.module or "" if isinstance(statement, ast.ImportFrom) else ""
            for alias in statement.names:
                full = f"{base}.{alias.name}".lstrip(".")
                module, name = (full, None) if full in known else (base, alias.name)
                if module in known and module != importer:
                    found.append(Import(importer, module, name, statement.lineno))
    return tuple(found)


def leaks() -> list[Import]:
    """List imports of a private module, or a private name, of another room."""
    return [
        each
        for each in imports()
        if room_of(each.importer) != room_of(each.module)
        and (
            any(part.startswith("_") for part in each.module.split(".")[2:])
            or (each.name or "").startswith("_")
            or (each.module.startswith("sarheight_kernels._"))
        )
    ]


def upward() -> list[Import]:
    """List imports against `LINE`."""
    return [
        each
        for each in imports()
        if room_of(each.importer) != room_of(each.module)
        and RANK.get(room_of(each.module), -1) >= RANK.get(room_of(each.importer), len(LINE))
    ]


def _graph() -> nx.DiGraph[str]:
    """Make the graph of imports, those for type checkers included."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_edges_from((each.importer, each.module) for each in imports())
    # The package loads its rooms by name, at first use.
    graph.remove_nodes_from(["sarheight"] if "sarheight" in graph else [])
    return graph


def circles() -> list[list[str]]:
    """List groups of modules, and then of rooms, that import each other."""
    graph = _graph()
    rooms: nx.DiGraph[str] = nx.DiGraph()
    rooms.add_edges_from(
        (room_of(one), room_of(other))
        for one, other in graph.edges
        if room_of(one) != room_of(other)
    )
    groups = [*nx.strongly_connected_components(graph), *nx.strongly_connected_components(rooms)]
    return [sorted(group) for group in groups if len(group) > 1]


def longest_chain() -> list[str]:
    """Return the longest chain of imports; circles count as one module."""
    condensed = nx.condensation(_graph())
    return [min(condensed.nodes[node]["members"]) for node in nx.dag_longest_path(condensed)]


def main(arguments: list[str] | None = None) -> None:
    """Print the counts, and record them where that is asked for."""
    parser = options("house", __doc__)
    chosen = parser.parse_args(arguments)
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules().items()}
    private = [name for name in lines if any(part.startswith("_") for part in name.split(".")[1:])]
    counts = {
        "house.files": len(lines),
        "house.lines": sum(lines.values()),
        "house.private_files": len(private),
        "house.leaks": len(leaks()),
        "house.upward": len(upward()),
        "house.circles": len(circles()),
        "house.depth": len(longest_chain()),
    }
    rooms: dict[str, list[int]] = {}
    for name, count in lines.items():
        rooms.setdefault(room_of(name), []).append(count)
    console = Console()
    by_room = Table("room", "files", "lines", "largest file", title="rooms")
    for room, sizes in sorted(rooms.items()):
        by_room.add_row(room, str(len(sizes)), str(sum(sizes)), str(max(sizes)))
    console.print(by_room)
    for found in [*leaks(), *upward()]:
        console.print(str(found))
    tell(counts, "house", save=chosen.save)


if __name__ == "__main__":
    main()
