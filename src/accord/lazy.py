"""Names that are loaded when they are first used, so that importing a package takes no time.

A package's ``__init__.py`` lists its names as plain imports that only readers of the source see::

    if TYPE_CHECKING:
        from accord.search.noise import noise_optimise
    else:
        lazy(__name__)

Type checkers, editors and the import contract read the imports where they stand; so does ``lazy``: nothing is listed twice.
"""

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class LazyPackage(ModuleType):
    """A package that knows where its names come from, and goes there when one is asked for."""

    _origins: dict[str, tuple[str, str]]

    def __getattr__(self, name: str) -> Any:
        if name not in self._origins:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        module, attribute = self._origins[name]
        if module == self.__name__:  # from accord import losses
            return importlib.import_module(f"{module}.{attribute}")
        value = self.__dict__[name] = getattr(importlib.import_module(module), attribute)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # Loading the file engine/fit.py would otherwise hide the function accord.engine.fit.
        if isinstance(value, ModuleType) and self._origins.get(name, (self.__name__,))[0] != self.__name__:
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self._origins, *(name for name in super().__dir__() if name.startswith("__"))})


def lazy(package: str) -> None:
    """Make a package load the names of its ``if TYPE_CHECKING:`` imports when they are first used.

    Args:
        package: its ``__name__``; called from its ``__init__.py``.
    """
    module = sys.modules[package]
    module.__dict__["_origins"] = _origins(Path(str(module.__file__)))
    module.__class__ = LazyPackage


def _origins(path: Path) -> dict[str, tuple[str, str]]:
    """Name -> (module, name there) of the imports for type checkers in a file."""
    imports = [
        statement
        for block in ast.parse(path.read_bytes()).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
    ]
    return {a.asname or a.name: (str(i.module), a.name) for i in imports for a in i.names}
