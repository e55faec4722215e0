"""All commands by name, parsed from signatures: every option is a flag and a YAML key."""

import ast
import contextlib
import difflib
import importlib
import io
import logging
import os
import sys
import typing
import warnings
from pathlib import Path
from typing import Any

from accord.cli.shape import Shape, told
from accord.errors import AccordError, ConfigError

COMMANDS: dict[str, Any] = {
    "demo": {
        "_help": "the main job on an embedded world, end to end, with a report to look at",
        "letters": "accord.cli.demo:letters",
        "portraits": "accord.cli.demo:portraits",
    },
    "align": "accord.cli.align:align",
    "reward": {
        "_help": "train, measure and use reward models",
        "train": "accord.cli.reward:train",
        "evaluate": "accord.cli.evaluate:evaluate",
        "score": "accord.cli.reward:score_file",
    },
    "curate": "accord.cli.curate:curate",
    "personalize": "accord.cli.personalize:personalize",
    "sample": "accord.cli.sample:sample",
    "reproduce": "accord.cli.reproduce:reproduce",
    "methods": "accord.cli.show:methods",
    "report": "accord.cli.show:report",
    "recipes": {
        "_help": "ready-made configurations",
        "list": "accord.cli.recipes:list_recipes",
        "write": "accord.cli.recipes:write",
        "copy": "accord.cli.recipes:copy",
    },
}
"""Where each command is; a command is loaded when it is called, and its help is read off its file without."""

SHAPES = {"align": "accord.cli.align:shape", "sample": "accord.cli.sample:shape"}
"""Where the options of a call are found that depend on what it asks for (a method, a policy, a search)."""

POSITIONAL = {
    "align": ["method"],
    "reproduce": ["name"],
    "report": ["run"],
    "copy": ["name", "to"],
    "write": ["name", "to"],
}
"""Options that may be given as bare words."""


def run(args: list[str]) -> Any:
    """Parse and call a command; raises ConfigError for a call that can't be understood."""
    words, place = _find(args)
    if isinstance(place, dict):
        return _overview(words, place, asked=len(args) == len(words) or args[len(words)] in ("-h", "--help"))
    target = _load(place)
    args = _flags(target, _positional(target, args[len(words) :]))
    given = told(args)
    shape = (
        _load(SHAPES[words[0]])(given) if words[0] in SHAPES else Shape(_help(place), who=f"accord {' '.join(words)}")
    )
    if "help" not in given:
        shape.refuse_unknown(target, list(given))
    parser = _parser(words, target, shape)
    said, see = io.StringIO(), f"(see accord {' '.join(words)} --help)"
    try:
        with contextlib.redirect_stderr(said):
            options = parser.instantiate_classes(parser.parse_args(shape.switches(args)))
    except SystemExit as stop:
        if stop.code in (0, None):
            return 0
        raise ConfigError(f"{_problem(said.getvalue())} {see}") from None
    except AccordError:
        raise
    except Exception as error:  # the parser meets values that it was not made for in many ways
        raise ConfigError(f"the options can't be read: {_problem(str(error)) or type(error).__name__} {see}") from error
    return target(**shape.chosen(target, {k: v for k, v in options.as_dict().items() if k != "config"}, given))


def _parser(words: list[str], target: Any, shape: Shape) -> Any:
    from jsonargparse import ArgumentParser

    from accord.cli.formatter import Formatter

    parser = ArgumentParser(prog=" ".join(["accord", *words]), description=shape.about, formatter_class=Formatter)
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    shape.add_to(parser)
    parser.add_function_arguments(target, as_group=False, fail_untyped=True, skip={*shape.skipped(target)})
    return parser


def _find(args: list[str]) -> tuple[list[str], Any]:
    """The command words at the beginning of a call, and what they lead to."""
    words: list[str] = []
    target: Any = COMMANDS
    for arg in args:
        if not isinstance(target, dict) or arg.startswith("-"):
            break
        if arg not in target or arg == "_help":
            near = difflib.get_close_matches(arg, target, 1)
            known = ", ".join(k for k in target if k != "_help")
            raise ConfigError(
                f"no command {' '.join(['accord', *words, arg])!r}; "
                + (f"did you mean {near[0]}?" if near else f"there are {known}")
            )
        words.append(arg)
        target = target[arg]
    return words, target


def _positional(target: Any, args: list[str]) -> list[str]:
    """Bare words right after a command as options: ``accord report RUN``, ``accord reproduce raft``."""
    bare = 0
    while bare < len(args) and not args[bare].startswith("-"):
        bare += 1
    names = POSITIONAL.get(target.__name__, [])
    if bare > len(names):
        raise ConfigError(f"what is {args[len(names)]!r}? options are given as --name value")
    return [*(f"--{n}={v}" for n, v in zip(names, args[:bare], strict=False)), *args[bare:]]


def _flags(target: Any, args: list[str]) -> list[str]:
    """``--skip-bad`` for ``--skip_bad=true``: dashes as people type them, switches without a value."""
    hints = typing.get_type_hints(target)
    out = []
    for i, arg in enumerate(args):
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            arg = name[:2] + name[2:].replace("-", "_") + equals + value
            alone = not equals and (i + 1 == len(args) or args[i + 1].startswith("--"))
            hint = hints.get(arg[2:])
            if alone and (hint is bool or bool in typing.get_args(hint)):
                arg += "=true"
        out.append(arg)
    return out


def _overview(words: list[str], commands: dict[str, Any], *, asked: bool) -> int:
    if not asked:
        raise ConfigError(f"accord {' '.join(words)} wants a command: {', '.join(k for k in commands if k != '_help')}")
    print(f"usage: {' '.join(['accord', *words])} COMMAND …\n")
    for name, target in commands.items():
        if name != "_help":
            print(f"  {name:12} {target['_help'] if isinstance(target, dict) else _help(target)}")
    print("\nEach command has --help, and takes its options from flags or from --config FILE.yaml.")
    return 0


def _load(place: str) -> Any:
    """The function of a command."""
    _quiet()
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _help(place: str) -> str:
    """The first sentence of a command's docstring, read off its file: nothing is loaded."""
    module, _, name = place.partition(":")
    source = Path(__file__).with_name(f"{module.rpartition('.')[2]}.py").read_bytes()
    found = [f for f in ast.parse(source).body if isinstance(f, ast.FunctionDef) and f.name == name]
    return (ast.get_docstring(found[0]) or "").split("\n\n")[0].replace("\n", " ")


def _problem(said: str) -> str:
    """What the parser complained about, as one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(lines) if "error:" in line), max(0, len(lines) - 1))
    text = " ".join(lines[start:]).partition("error:")[2].strip() or " ".join(lines[start:])
    return text.rstrip("-: ")[:400]


def _quiet() -> None:
    """Progress and one-line errors are ours to show; the libraries' chatter is not. What isn't loaded yet reads it from the
    environment when it is."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    if "transformers" in sys.modules:
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
    logging.getLogger("accord").setLevel(logging.WARNING)
