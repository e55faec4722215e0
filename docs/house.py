"""Draw docs/house.svg: the folders of the package, each above those that it imports, as the import contract and the code have it."""

import ast
import textwrap
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ROOT / "src" / "accord"
WIDTH, ROW, BOX_WIDTH, BOX_HEIGHT = 900, 104, 206, 76


def floors() -> list[list[str]]:
    """The folders floor by floor, the ground first: the layers of the import contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    names = [[n.strip().removeprefix("accord.") for n in layer.split("|")] for layer in reversed(layers)]
    return [[n for n in floor if (CODE / n).is_dir()] for floor in names if any((CODE / n).is_dir() for n in floor)]


def imports(folder: str) -> set[str]:
    """The other folders that a folder's files import."""
    found = set()
    for file in (CODE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and node.module == "accord":
                names = [f"accord.{a.name}" for a in node.names]
            found |= {n.split(".")[1] for n in names if n.startswith("accord.")}
    return {n for n in found - {folder} if (CODE / n).is_dir()}


def stairs() -> set[tuple[str, str]]:
    """Who imports whom, without what follows from the rest."""
    direct = {n: imports(n) for floor in floors() for n in floor}
    reach: dict[str, set[str]] = {}
    for floor in floors():
        for n in floor:
            reach[n] = direct[n].union(*(reach[m] for m in direct[n]))
    return {(n, m) for n in direct for m in direct[n] if not any(m in reach[o] for o in direct[n] - {m})}


def house() -> str:
    """The picture."""
    rows = floors()
    height = ROW * len(rows) + 8
    place = {
        n: (WIDTH * (i + (0.5 if len(floor) > 3 else 1)) / (len(floor) + (len(floor) <= 3)), height - ROW * (y + 0.5))
        for y, floor in enumerate(rows)
        for i, n in enumerate(floor)
    }
    lines = [_stair(*place[n], *place[m]) for n, m in sorted(stairs())]
    boxes = [_box(n, *place[n]) for floor in rows for n in floor]
    style = (
        "rect{fill:#f4f6f8;stroke:#8fa3b0}path{fill:none;stroke:#b9c4cc;stroke-width:1.5}"
        "text{font:11px sans-serif;fill:#24313a;text-anchor:middle}.name{font:bold 13px sans-serif}.in{fill:#2f6f8f}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
            f"<style>{style}</style>",
            *lines,
            *boxes,
            "</svg>",
            "",
        ]
    )


def _stair(x: float, y: float, to_x: float, to_y: float) -> str:
    """From one box down to another, round what lies between."""
    y, to_y = y + BOX_HEIGHT / 2, to_y - BOX_HEIGHT / 2
    aside = 0 if to_y - y < ROW else BOX_WIDTH * (1 if to_x > x else -1)
    return f'<path d="M{x:.0f} {y:.0f}Q{(x + to_x) / 2 + aside:.0f} {(y + to_y) / 2 - abs(aside) / 4:.0f} {to_x:.0f} {to_y:.0f}"/>'


def _box(folder: str, x: float, y: float) -> str:
    left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    doc = (
        (ast.get_docstring(ast.parse((CODE / folder / "__init__.py").read_bytes())) or "")
        .split("\n")[0]
        .replace("`", "")
    )
    within = " · ".join(sorted(p.parent.name for p in (CODE / folder).glob("*/__init__.py")))
    most, whole = 2 if within else 3, doc.split(". ")[0].rstrip(".")
    said = textwrap.wrap(whole, 34)
    said = said if len(said) <= most else textwrap.wrap(whole.split(":")[0], 34)[:most]
    text = [f'<text class="name" x="{x:.0f}" y="{top + 18:.0f}">{folder}</text>']
    if within:
        text.append(f'<text class="in" x="{x:.0f}" y="{top + 34:.0f}">{within}</text>')
    first = top + (50 if within else 36)
    text += [f'<text x="{x:.0f}" y="{first + 14 * i:.0f}">{escape(line)}</text>' for i, line in enumerate(said)]
    return f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>' + "".join(text)


if __name__ == "__main__":
    (ROOT / "docs" / "house.svg").write_text(house())
