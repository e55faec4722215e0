"""The code that an arm runs through, as one hash: where it has changed, what was kept of the arm no longer counts."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def source_hash(module: str) -> str:
    """Of a module, of all modules of its package that it reaches by imports, and of the weights that lie beside them.

    Comments, docstrings and layout don't count. A package's ``__init__.py`` only leads on to where a name comes from, so
    a method that is added to a package changes nothing for those that don't use it.
    """
    files = {name: _file(name) for name in sorted(reached(module))}
    h = hashlib.sha256()
    for name, path in files.items():
        h.update(f"{name}\n{_code(path.read_bytes())}\n".encode())
    for folder in sorted({path.parent / "weights" for path in files.values()}):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            h.update(f"{path.relative_to(folder.parents[1])}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return h.hexdigest()[:16]


def reached(module: str) -> set[str]:
    """The modules of its package that run where this one is imported, itself among them."""
    package = module.partition(".")[0]
    found: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [_home(m, what) for m, what in _imports(_file(name)) if m.partition(".")[0] == package]
    return found


def _home(module: str, name: str) -> str:
    """The module in which a name that is imported from this one is made."""
    path = _file(module)
    if path.name != "__init__.py" or not name:
        return module
    if (path.parent / name).is_dir() or (path.parent / f"{name}.py").is_file():
        return f"{module}.{name}"
    return next((_home(m, what) for m, what in _imports(path) if what == name), module)


def _imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every import in a file; the name is empty where a module is imported whole."""
    for node in _import_statements(path.read_bytes()):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", a.name) for a in node.names)
        else:
            yield from ((a.name, "") for a in node.names)


def _file(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"no module {module}")
    return Path(spec.origin)


@cache
def _import_statements(source: bytes) -> list[ast.Import | ast.ImportFrom]:
    return [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]


@cache
def _code(source: bytes) -> str:
    """A file's statements, without the texts that stand among them."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for part in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, part, None), list):
                setattr(node, part, [s for s in statements if not _is_text(s)])
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
