"""How help is laid out."""

from typing import Any

from jsonargparse import DefaultHelpFormatter


class Formatter(DefaultHelpFormatter):
    """Leaves out the kind of options that are checked here and not by the parser: their own help says it."""

    def _expand_help(self, action: Any) -> str:
        return super()._expand_help(action).replace("type: Any, ", "")
