"""The environment of a lookup: it runs the calls of a reply and answers with what the tools find."""

from collections.abc import Sequence
from typing import Any

from accord.engine.seeds import Seeds
from accord.policies import LanguagePolicy, Sampling
from accord.worlds.letters.answers import finding
from accord.worlds.letters.replies import Reply, read_reply
from accord.worlds.letters.words import CITIES, DAYS, TOOLS


def found_by(call: Any) -> str:
    """What a call finds; "error" for one that no tool takes."""
    match call:
        case {"name": str(tool), "arguments": {"city": str(city), **more}} if len(call) == 2:
            day = f" on {more['day']}" if "day" in more else ""
            if tool in TOOLS and city in CITIES and more.keys() <= {"day"} and more.get("day", DAYS[0]) in DAYS:
                return finding(f"{tool} in {city}{day}")
    return "error"


def respond(completion: str) -> str | None:
    """The environment's turn after a reply: a result for each of its calls; None where it made none or has reported."""
    reply = read_reply(completion)
    if reply.body_kind != "call" or reply.results:
        return None
    return " ".join(f"<result> {found_by(c)} </result>" for c in reply.calls)


def honest(reply: Reply) -> bool:
    """Whether the results in a reply are the environment's: as many as calls, in their order, or none so far."""
    return reply.results == [found_by(c) for c in reply.calls][: len(reply.results)] and (
        not reply.results or len(reply.results) == len(reply.calls)
    )


def converse(policy: LanguagePolicy, prompts: Sequence[str], sampling: Sampling, *, seed: int | Seeds = 0) -> list[str]:
    """One episode a prompt: what the policy says and, where it calls tools, their results and what it says then."""
    said = policy.sample(prompts, 1, sampling, seed=seed).completions
    went_on = {i: f"{c} {more}" for i, c in enumerate(said) if (more := respond(c)) is not None}
    if went_on:
        asked = [f"{prompts[i]} {episode}" for i, episode in went_on.items()]
        after = policy.sample(asked, 1, sampling, seed=seed).completions
        said = said[:]
        for (i, episode), last in zip(went_on.items(), after, strict=True):
            said[i] = f"{episode} {last}"
    return said
