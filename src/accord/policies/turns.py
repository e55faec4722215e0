"""Episodes of several turns: whatever others put in stands in the text, and is nobody's action."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import torch

from accord.engine.seeds import Seeds, derive, numbered, times
from accord.errors import ConfigError, wanted
from accord.feedback.records import Prompt
from accord.policies.base import Rollouts, Sampling

if TYPE_CHECKING:
    from accord.policies.language import LanguagePolicy


class Environment(Protocol):
    """Answers a policy's turn: a text that goes on from what was said so far, or None where the episode ends.

    It is asked with the prompt, the whole text so far, and the columns of the prompt's record.
    """

    def __call__(self, prompt: Prompt, said: str, columns: Mapping[str, Any]) -> str | None: ...


@dataclass(frozen=True)
class Tools:
    """An environment of Python functions: a turn that ends in a call gets its result, any other ends the episode.

    Attributes:
        functions: by name, called with the arguments by keyword.
        call: reads the last call off a turn: (name, arguments), or None where there is none.
        write: makes a text of a result. most: so many calls in an episode at most.
    """

    functions: Mapping[str, Callable[..., Any]]
    call: Callable[[str], tuple[str, Mapping[str, Any]] | None]
    write: Callable[[Any], str] = "\n<result>{}</result>\n".format
    most: int = 4

    def __post_init__(self) -> None:
        wanted(self.most >= 1, "tools want most >= 1", self.most)

    def __call__(self, prompt: Prompt, said: str, columns: Mapping[str, Any]) -> str | None:
        asked = self.call(said)
        if asked is None:
            return None
        name, arguments = asked
        if name not in self.functions:
            return self.write(f"there is no tool {name}: there are {', '.join(self.functions)}")
        try:
            return self.write(self.functions[name](**arguments))
        except Exception as error:  # whatever a tool or its arguments trip over, the policy is told
            return self.write(f"{type(error).__name__}: {error}")


@torch.no_grad()
def converse(policy: "LanguagePolicy", prompts: Sequence[Prompt], n: int, sampling: Sampling, *, seed: int | Seeds,
             context: Mapping[str, Sequence[Any]], env: Environment | None, begun: Sequence[str] | None, turns: int) -> Rollouts:  # fmt: skip
    """Episodes in which the policy and an environment take turns; see `LanguagePolicy.sample`.

    Tokens are kept as they were sampled, and nothing is tokenised again. The first turn is drawn as a single one would be.
    """
    if begun is not None and len(begun) != len(prompts):
        raise ConfigError(f"begun wants a text for each of {len(prompts)} prompts, but has {len(begun)}")
    wanted(turns >= 1, "several turns want turns >= 1", turns)
    t = policy.tokeniser
    group = [i for i in range(len(prompts)) for _ in range(n)]
    prompt_ids = [policy.prompt_ids(p) for p in prompts]
    ids = [t.continued(begun[g]) if begun else [] for g in group]
    own = [[False] * len(x) for x in ids]
    logp = [[0.0] * len(x) for x in ids]
    finished = [False] * len(group)
    columns = [{k: v[g] for k, v in context.items()} for g in group]
    one, numbers = numbered(times(seed, n), len(group))
    alive = list(range(len(group)))
    for turn in count():
        here = Seeds(
            one if turn == 0 else derive(one, turn, purpose="turn"), tuple(numbers[i] for i in alive), len(group)
        )
        drawn = policy.continued([prompt_ids[group[i]] + ids[i] for i in alive], 1, sampling, here)
        for row, i in enumerate(alive):
            ids[i], own[i] = ids[i] + drawn.ids[row], own[i] + [True] * len(drawn.ids[row])
            logp[i], finished[i] = (
                logp[i] + drawn.logprobs[row, : len(drawn.ids[row])].tolist(),
                bool(drawn.finished[row]),
            )
        replies = (
            {i: env(prompts[group[i]], t.decode(ids[i]), columns[i]) for i in alive if finished[i]}
            if env and turn + 1 < turns
            else {}
        )
        alive = []
        for i, reply in replies.items():
            said = t.continued(reply) if reply is not None else []
            room = policy.context is None or len(prompt_ids[group[i]]) + len(ids[i]) + len(said) < policy.context
            if reply is not None and room:
                alive.append(i)
                ids[i], own[i], logp[i] = ids[i] + said, own[i] + [False] * len(said), logp[i] + [0.0] * len(said)
        if not alive:
            break
    rollouts = _rollouts(policy, prompts, group, prompt_ids, ids, own, logp, finished, sampling, columns)
    return rollouts if policy.engine is None else policy.read_again(rollouts)


def _rollouts(policy: "LanguagePolicy", prompts: Sequence[Prompt], group: list[int], prompt_ids: list[list[int]], ids: list[list[int]],
              own: list[list[bool]], logp: list[list[float]], finished: list[bool], sampling: Sampling,
              columns: list[dict[str, Any]]) -> Rollouts:  # fmt: skip
    from accord.policies.language import TokenActions

    def padded(rows: Sequence[Sequence[float]]) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], batch_first=True)

    return Rollouts(
        prompts=list(prompts), group=torch.tensor(group), completions=[policy.tokeniser.decode(x) for x in ids], mask=padded(own).bool(),
        logprobs=padded(logp).float(), finished=torch.tensor(finished), actions=TokenActions([prompt_ids[g] for g in group], ids),
        sampling=sampling, context={k: [c[k] for c in columns] for k in (columns[0] if columns else {})},
    )  # fmt: skip


def tagged_call(said: str) -> tuple[str, Mapping[str, Any]] | None:
    """The call at the end of a text, as ``<tool_call>{"name": …, "arguments" or "parameters": {…}}</tool_call>``."""
    found = re.search(r"<tool_call>\s*(\{.*?\})\s*</tool_call>\s*$", said, re.DOTALL)
    try:
        call = json.loads(found.group(1)) if found else None
    except ValueError:
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", call.get("parameters", {}))
    return (call["name"], arguments) if isinstance(arguments, dict) else None
