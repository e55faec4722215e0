"""All commands by name, parsed from signatures: every option is a flag and a YAML key."""

import contextlib
import io
import logging
import os
import warnings
from typing import Any

import jsonargparse

from accord.cli import align, demo, recipes, reward, sample, show
from accord.errors import ConfigError

COMMANDS: dict[str, Any] = {
    "demo": {"_help": "the main job on an embedded world, end to end, with a report to look at", "letters": demo.letters},
    "align": align.align,
    "reward": {
        "_help": "train, measure and use reward models",
        "train": reward.train,
        "evaluate": reward.evaluate,
        "score": reward.score_file,
    },
    "sample": sample.sample,
    "reproduce": show.reproduce,
    "methods": show.methods,
    "report": show.report,
    "recipes": {"_help": "ready-made configurations", "list": recipes.list_recipes, "copy": recipes.copy},
}


def run(args: list[str]) -> Any:
    """Parse and call a command; raises ConfigError for a call that can't be understood."""
    _quiet()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser = _parser()
            options = parser.parse_args(args)
    except SystemExit as stop:
        if stop.code in (0, None):
            return 0
        lines = [line.strip() for line in said.getvalue().splitlines() if line.strip()]
        problem = next((line for line in reversed(lines) if "error:" in line), lines[-1] if lines else "can't read the call")
        detail = " ".join(lines[lines.index(problem) + 1 :]) if problem in lines else ""
        message = f"{problem.partition('error:')[2].strip() or problem} {detail}".strip().rstrip("-: ")
        raise ConfigError(f"{message[:400]} (see --help)") from None
    return _call(options, COMMANDS)


def _parser() -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(prog="accord", description="Bring generative models into accord with what people want.")
    _add(parser, COMMANDS)
    return parser


def _add(parser: jsonargparse.ArgumentParser, commands: dict[str, Any]) -> None:
    sub = parser.add_subcommands(required=True)
    for name, target in commands.items():
        if name == "_help":
            continue
        own = jsonargparse.ArgumentParser(description=target["_help"] if isinstance(target, dict) else (target.__doc__ or "").split("\n\n")[0])
        if isinstance(target, dict):
            _add(own, target)
        else:
            own.add_argument("--config", action="config", help="a YAML file with any of these options")
            own.add_function_arguments(target, as_group=False, fail_untyped=True)
        sub.add_subcommand(name, own, help=own.description)


def _call(options: Any, commands: dict[str, Any]) -> Any:
    name = options.subcommand
    target, own = commands[name], options[name]
    if isinstance(target, dict):
        return _call(own, target)
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(target, as_group=False)
    arguments = parser.instantiate_classes(own).as_dict()
    return target(**{k: v for k, v in arguments.items() if k != "config"})


def _quiet() -> None:
    """Progress and one-line errors are ours to show; the libraries' chatter is not."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("accord").setLevel(logging.WARNING)
