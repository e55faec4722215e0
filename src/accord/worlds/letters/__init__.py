"""A small text world: templated requests, short replies from a grammar, and a gold that reads them exactly."""

from typing import TYPE_CHECKING

from accord.lazy import lazy

if TYPE_CHECKING:
    from accord.worlds.letters.gold import ASPECTS, gold, spurious
    from accord.worlds.letters.model import WEIGHTS, build_model, build_tokenizer, policy
    from accord.worlds.letters.population import Population, population
    from accord.worlds.letters.replies import compose, read_reply
    from accord.worlds.letters.tasks import KINDS, Request, parse_request, tasks
else:
    lazy(__name__)

__all__ = [
    "ASPECTS",
    "KINDS",
    "WEIGHTS",
    "Population",
    "Request",
    "build_model",
    "build_tokenizer",
    "compose",
    "gold",
    "parse_request",
    "policy",
    "population",
    "read_reply",
    "spurious",
    "tasks",
]
