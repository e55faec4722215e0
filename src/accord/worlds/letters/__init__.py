"""A small text world: templated requests, short replies from a grammar, and a gold that reads them exactly.

Five kinds of requests are meant unless others are named (`MORE`): sums to be worked out, with options or without; findings
for which tools are called, over two turns; things to be explained, a clause each. Any request may stand behind a manner (a
control tag, a system line), and the same policy judges which of two replies is better (`compare`).
"""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.worlds.letters.compose import compose
    from accord.worlds.letters.gold import ASPECTS, faults, gold, obeyed
    from accord.worlds.letters.judge import compare, judge_tasks, prefers, verdict
    from accord.worlds.letters.manners import MANNERS
    from accord.worlds.letters.model import WEIGHTS, build_model, build_tokenizer, policy
    from accord.worlds.letters.population import FLAWS, Population, population
    from accord.worlds.letters.replies import read_reply, spurious
    from accord.worlds.letters.tasks import KINDS, MORE, Request, parse_request, tasks
    from accord.worlds.letters.turns import respond
else:
    lazy(__name__)

__all__ = [
    "ASPECTS",
    "FLAWS",
    "KINDS",
    "MANNERS",
    "MORE",
    "WEIGHTS",
    "Population",
    "Request",
    "build_model",
    "build_tokenizer",
    "compare",
    "compose",
    "faults",
    "gold",
    "judge_tasks",
    "obeyed",
    "parse_request",
    "policy",
    "population",
    "prefers",
    "read_reply",
    "respond",
    "spurious",
    "tasks",
    "verdict",
]
