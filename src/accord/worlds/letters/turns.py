"""The environment of a lookup: it runs the calls of a reply and answers with what the tools find."""

from collections.abc import Mapping
from typing import Any

from accord.feedback import Prompt
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


def respond(prompt: Prompt, said: str, columns: Mapping[str, Any]) -> str | None:
    """The environment's turn (`policy.sample(…, env=respond, turns=2)`): a result for each call; None where there was none,
    or they have had theirs."""
    reply = read_reply(said)
    if reply.body_kind != "call" or reply.results:
        return None
    return " ".join(f"<result> {found_by(c)} </result>" for c in reply.calls)


def honest(reply: Reply) -> bool:
    """Whether the results in a reply are the environment's: as many as calls, in their order, or none so far."""
    return reply.results == [found_by(c) for c in reply.calls][: len(reply.results)] and (
        not reply.results or len(reply.results) == len(reply.calls)
    )
