"""The command line. A user's mistake is one line on stderr and exit code 2, never a traceback."""

import os
import shlex
import sys
import time
from typing import Any

from accord import __version__
from accord.errors import AccordError, Interrupted

ENDED_BY = 20.0
"""Seconds in which a launcher has ended the other processes of one that failed."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args == ["--version"]:
        print(f"accord {__version__}")
        return 0
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        from accord.cli.commands import run

        result = run(_configs_by_position(_method_by_position(args)))
    except Interrupted as error:
        again = shlex.join(["accord", *args, *([] if "--resume" in args else ["--resume"])])
        complain(f"{error}\nTo go on{', launched as before' if 'RANK' in os.environ else ''}: {again}", known=True)
        return error.exit_code
    except AccordError as error:
        complain(str(error), known=hasattr(error, "told"))
        return error.exit_code
    except KeyboardInterrupt:
        print("accord: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"accord: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", file=sys.stderr)
        return 1
    return int(result or 0)


def complain(text: str, *, known: bool) -> None:
    """Say once, of several processes, what is wrong: the first one does so, and its end ends all. Another says only what the
    first doesn't know, after a while in which it would have been ended.
    """
    rank = int(os.environ.get("RANK", "0"))
    if rank and known:
        return
    if rank:
        time.sleep(ENDED_BY)
    print(f"accord: {f'process {rank}: ' if rank else ''}{text}", file=sys.stderr)


def _method_by_position(args: list[str]) -> list[str]:
    """``accord align --method dpo --model M`` means ``accord align dpo --policy M``."""
    if args[:1] != ["align"]:
        return args
    out = [f"--policy{arg.removeprefix('--model')}" if arg.split("=")[0] == "--model" else arg for arg in args]
    at = next((i for i, arg in enumerate(out) if arg.split("=")[0] == "--method"), None)
    if at is None:
        return out
    name = out[at].partition("=")[2:] if "=" in out[at] else out[at + 1 : at + 2]
    return [out[0], *name, *out[1:at], *out[at + (1 if "=" in out[at] else 2) :]]


def _configs_by_position(args: list[str]) -> list[str]:
    """``accord align run.yaml`` means ``accord align --config run.yaml``."""
    out: list[str] = []
    for i, arg in enumerate(args):
        named = i > 0 and (args[i - 1].startswith("-") and "=" not in args[i - 1])
        if arg.endswith((".yaml", ".yml")) and not named and args[0] in ("align", "curate", "personalize", "reward"):
            out += ["--config", arg]
        else:
            out.append(arg)
    return out


def entry() -> Any:
    """For the console script."""
    sys.exit(main())
