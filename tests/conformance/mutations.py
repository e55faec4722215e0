"""Files and configurations with something wrong in them, as accidents and odd data make them; each from its seed."""

import copy
import json
import math
import random
from typing import Any

ODD: tuple[Any, ...] = (None, True, False, 0, -1, 3, 0.5, 1e300, math.nan, math.inf, -math.inf, "", " ", "x", "1", "1e-3", "none", "\x00", "\ud800",
                        "é" * 40, [], {}, [1], [[]], [None], {"a": 1}, {"role": "user"}, [{"role": "user", "content": None}], 10**400)  # fmt: skip
"""What nobody meant to write in a field."""


def odd_tree(tree: Any, draw: random.Random, changes: int = 1) -> Any:
    """The same data with something replaced, removed, renamed or added somewhere in it."""
    made = json.loads(json.dumps(tree))
    for _ in range(changes):
        places = list(_places(made))
        if not places:
            return made
        parent, key = draw.choice(places)
        how = draw.choice(("replace", "replace", "replace", "remove", "rename", "nest", "twice"))
        if how == "replace":
            parent[key] = copy.deepcopy(draw.choice(ODD))
        elif how == "remove":
            del parent[key]
        elif how == "nest":
            parent[key] = draw.choice(([parent[key]], {"value": parent[key]}))
        elif isinstance(parent, dict):
            parent[f"{key}s" if how == "rename" else f"{key} "] = parent.pop(key) if how == "rename" else parent[key]
        else:
            parent.insert(key, parent[key])
    return made


def odd_bytes(data: bytes, draw: random.Random) -> bytes:
    """The same file after an accident: cut off, overwritten, repeated, in another encoding."""
    a, b = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    b = min(b, a + 40)
    how = draw.choice(("cut", "drop", "flip", "insert", "repeat", "encode", "lines"))
    if how == "cut":
        return data[:a]
    if how == "drop":
        return data[:a] + data[b:]
    if how == "flip":
        return data[:a] + bytes(draw.randrange(256) for _ in range(b - a)) + data[b:]
    if how == "insert":
        return (
            data[:a]
            + draw.choice(
                (b"\x00", b"\xff", b"\n", b"\r", b'"', b"{", b"]", b",", b"\xef\xbb\xbf", b": ", b"- ", b"'", b"\t")
            )
            + data[a:]
        )
    if how == "repeat":
        return data[:b] + data[a:]
    if how == "lines":
        lines = data.splitlines(keepends=True)
        draw.shuffle(lines)
        return b"".join(lines)
    return data.decode("utf-8", "ignore").encode(draw.choice(("utf-16", "utf-8-sig", "utf-32")))


def _places(tree: Any) -> Any:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)
