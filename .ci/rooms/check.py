"""Holds the source against the plan of its rooms: python3 .ci/rooms/check.py [repository]
With --list it tells what each room has: files, lines, and the files of its largest circle.

A room is a folder under `src`, and the file of the same name. A room uses the rooms behind it in the list below, and none before it.
Within a room at most MOST files import each other in a circle. Arrows that run up and are known stand in DEBTS: a further one is an
error, and so is one that is gone and still stands there.
"""

import sys
from pathlib import Path

from imports import Crate, circles

# Each crate, and its rooms from the top down. A crate without rooms is one.
ROOMS = {
    "protocol": "encoded msgpack socketio engineio webtransport websocket".split(),
    "adapter": [],
    "adapter-redis": "redis_adapter stream_writer presence records bus recovery cluster config link wire codec".split(),
    "loadtest": [],
    "simulator": [],
    "testkit": [],
    "gateway": "server backend apps http forward socketio engine peers recovery trace top presence users show cluster otel net count config".split(),
}

# The rooms that are programs: they use their library from outside.
PROGRAMS = ["bin"]

MOST = 8

# Arrows that run up and are to go, by crate: file and room.
DEBTS = {}


def faults(crate, rooms, debts, most=MOST):
    """What is wrong, a sentence each."""
    rank = {room: place for place, room in enumerate(rooms)}
    found = set()
    for module, imports in sorted(crate.imports.items()):
        if not rooms or not module or module[0] in PROGRAMS:
            continue
        name = "::".join(module)
        if module[0] not in rank:
            yield f"{name} is in no room: add {module[0]!r} to the list, or move the file into a room"
            continue
        for target, path in sorted(imports.items()):
            if target[0] in PROGRAMS or target[0] not in rank or rank[target[0]] >= rank[module[0]]:
                continue
            arrow = f"{name} -> {target[0]}"
            found.add(arrow)
            if arrow not in debts:
                yield f"{name} imports {path}, and {target[0]} is above {module[0]}"
    for gone in sorted(debts - found):
        yield f"{gone} runs up no more: take it out of DEBTS"
    for room in rooms or [None]:
        inside = {module: set(imports) for module, imports in crate.imports.items() if module and (room is None or module[0] == room)}
        for circle in circles(inside):
            if len(circle) > most:
                names = ", ".join("::".join(module) for module in circle)
                yield f"a circle of {len(circle)} files that import each other, {most} at most: {names}"


def listing(crate, rooms):
    """What each room has, a line each."""
    for room in rooms or [None]:
        inside = {module: set(imports) for module, imports in crate.imports.items() if room is None or module[:1] == (room,)}
        files = [file for module in inside for file in crate.files[module]]
        lines = sum(len(file.read_text().splitlines()) for file in files)
        largest = max((len(circle) for circle in circles(inside)), default=0)
        yield f"{room or 'all of it':<15} {len(files):>4} files {lines:>7} lines {largest:>3} in a circle"


def main(repository):
    if "--list" in sys.argv:
        for name, rooms in ROOMS.items():
            print(f"{name}:", *listing(Crate(repository / name / "src"), [*rooms, *PROGRAMS] if name == "gateway" else rooms), sep="\n  ")
        return
    wrong = 0
    for name, rooms in ROOMS.items():
        for fault in faults(Crate(repository / name / "src"), rooms, DEBTS.get(name, set())):
            print(f"{name}: {fault}")
            wrong += 1
    if wrong:
        sys.exit(f"the rooms are out of order: {wrong} faults; docs/architecture.md has the plan")
    print("the rooms are in order")


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    main(Path(folders[0] if folders else Path(__file__).parents[2]))
