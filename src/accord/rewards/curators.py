"""Who curates: votes on labels, sets them anew, makes new pairs. Each takes comparisons part by part."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from accord.engine.seeds import derive
from accord.errors import wanted
from accord.feedback import Comparison, dropped, kept, pairs_of_scores, prompt_key
from accord.policies.capabilities import Samples
from accord.rewards.reward import Reward, name_of, reward_columns, score, score_pairs
from accord.rewards.secrets_rlhf_rm import BY, before, mended, turned, voted

Teach = Callable[[Sequence[Comparison]], Sequence[Reward]]
"""Makes voters of some of the comparisons that they will vote on."""


class Curator(Protocol):
    """Says of every comparison of a part what becomes of it: itself, with a note of what was done, and perhaps new ones that were made of it.

    It sees none that was dropped before. What it says depends on the part and on what it was prepared with, not on the parts before.
    """

    def __call__(self, part: Sequence[Comparison]) -> list[list[Comparison]]: ...


@runtime_checkable
class Prepared(Protocol):
    """A curator that wants to see some of the comparisons first."""

    def prepare(self, some: Sequence[Comparison]) -> None:
        """Look at a sample of all comparisons, as they come to it."""


class Voting:
    """Reward models vote on every label: the weakest are flipped, the next weakest dropped, the rest kept, all with the columns `voted`,
    `voted_std`, `target`, `margin` and `weight` (Secrets of RLHF II; see `voted` and `repaired`).

    Args:
        voters: reward models (of an ensemble all members vote), or what makes them of a sample of these comparisons.
        flip, drop: shares of all in [0, 1), which a sample tells how strong a vote they are. soften, margin: as for `repaired`.
    """

    def __init__(self, voters: Sequence[Reward] | Teach, *, flip: float = 0.0, drop: float = 0.0, soften: float = 0.0,
                 margin: bool = True) -> None:  # fmt: skip
        fits = min(flip, drop) >= 0 and flip + drop < 1 and 0 <= soften < 0.5
        wanted(
            fits,
            "voting wants flip and drop of at least 0 and together below 1, soften in [0, 0.5)",
            (flip, drop, soften),
        )
        self.flip, self.drop, self.soften, self.margin = flip, drop, soften, margin
        self._teach = voters if callable(voters) else None
        self.voters: Sequence[Reward] = () if callable(voters) else voters
        self.flips = self.drops = -math.inf
        """Votes below which a label is flipped, and dropped."""

    def prepare(self, some: Sequence[Comparison]) -> None:
        if self._teach:
            self.voters = self._teach(some)
        if self.flip or self.drop:
            strengths = sorted(float(p.columns["voted"]) for p in voted(some, self.voters))
            self.flips, self.drops = (_beyond(strengths, share) for share in (self.flip, self.flip + self.drop))

    def __call__(self, part: Sequence[Comparison]) -> list[list[Comparison]]:
        return [[self._judged(p, float(p.columns["voted"]))] for p in voted(part, self.voters)]

    def _judged(self, pair: Comparison, strength: float) -> Comparison:
        if self.flips <= strength < self.drops:
            return dropped(pair, "ambiguous", BY, strength=strength, before=before(pair, "voted", "voted_std"))
        return mended(pair, strength, strength < self.flips, self.soften, self.margin)


def _beyond(ordered: Sequence[float], share: float) -> float:
    """Half way between the last vote within this share of them and the first beyond it; of equal votes none is below it."""
    n = round(share * len(ordered))
    return -math.inf if not n else (ordered[n - 1] + ordered[n]) / 2 if n < len(ordered) else math.inf


class Relabelling:
    """A judge's verdict in the label's place: where it prefers the rejected answer the label is flipped, where it prefers neither the pair is
    dropped. What it does not apply to is kept.

    Args:
        judge: any reward. sure: by how much an answer has to lead, at least 0.
    """

    BY = "relabelling"

    def __init__(self, judge: Reward, *, sure: float = 0.0) -> None:
        wanted(sure >= 0, "sure must be at least 0", sure)
        self.judge, self.sure = judge, sure

    def __call__(self, part: Sequence[Comparison]) -> list[list[Comparison]]:
        return [[self._judged(p, lead)] for p, lead in zip(part, leads_of(self.judge, part), strict=True)]

    def _judged(self, pair: Comparison, lead: float | None) -> Comparison:
        more: dict[str, Any] = {"judge": name_of(self.judge), "lead": lead}
        if lead is None:
            return kept(pair, "not judged", self.BY, **more)
        if abs(lead) <= self.sure:
            return dropped(pair, "undecided", self.BY, **more)
        return kept(pair, "confirmed", self.BY, **more) if lead > 0 else turned(pair, "contradicted", self.BY, **more)


def leads_of(reward: Reward, pairs: Sequence[Comparison]) -> list[float | None]:
    """By how much each chosen answer leads; None where the reward does not apply to both."""
    if not pairs:
        return []
    said = score_pairs(reward, pairs)
    leads, valid = said.values[0::2] - said.values[1::2], said.valid[0::2] & said.valid[1::2]
    return [lead if ok else None for lead, ok in zip(leads.tolist(), valid.tolist(), strict=True)]


class Synthesis:
    """New pairs: a policy answers every prompt of a part some times, and the best answer by a reward is preferred to the worst, as sure as a pair can be
    that nobody voted on: `target` 1, `margin` 0, `weight` 1.

    Args:
        reward: of the prompt's other columns it sees those of its first pair.
        answers: to each prompt, at least 2. gap: by how much the best has to lead, at least 0. sampling: how answers are drawn; the policy's own
            default where it is None.
    """

    BY = "synthesis"

    def __init__(self, policy: Samples, reward: Reward, *, answers: int = 4, gap: float = 0.0, sampling: Any = None,
                 seed: int = 0) -> None:  # fmt: skip
        wanted(answers >= 2 and gap >= 0, "synthesis wants answers >= 2 and gap >= 0", (answers, gap))
        self.policy, self.reward, self.answers, self.gap, self.seed = policy, reward, answers, gap, seed
        self.sampling = policy.sampling_kind() if sampling is None else sampling

    def __call__(self, part: Sequence[Comparison]) -> list[list[Comparison]]:
        asked = {prompt_key(p.prompt): p for p in reversed(part)}
        made = dict(zip(asked, self._made(list(asked.values())), strict=True)) if asked else {}
        return [[pair, *made.pop(prompt_key(pair.prompt), ())] for pair in part]

    def _made(self, asked: list[Comparison]) -> list[list[Comparison]]:
        prompts = [p.prompt for p in asked]
        seed = derive(self.seed, purpose=prompt_key(prompts[0]))
        drawn = self.policy.sample(prompts, self.answers, self.sampling, seed=seed)
        columns: dict[str, Any] = reward_columns([_of_the_prompt(asked[i]) for i in drawn.group.tolist()])
        said = score(
            self.reward,
            prompts=drawn.prompt_of_each(),
            completions=drawn.completions,
            group=drawn.group.tolist(),
            **columns,
        )
        return [self._best_over_worst(prompts[i], drawn.completions, said, (drawn.group == i).nonzero()[:, 0].tolist())
                for i in range(len(prompts))]  # fmt: skip

    def _best_over_worst(self, prompt: Any, completions: Sequence[Any], said: Any, rows: list[int]) -> list[Comparison]:
        rows = [i for i in rows if bool(said.valid[i])]
        pairs = pairs_of_scores(prompt, [completions[i] for i in rows], said.values[rows].tolist(), how="ends", gap=self.gap,
                                columns={"target": 1.0, "margin": 0.0, "weight": 1.0},
                                provenance={"source": getattr(self.policy, "name", "policy"), "tries": self.answers})  # fmt: skip
        return [kept(p, "made", self.BY, reward=name_of(self.reward)) for p in pairs]


def _of_the_prompt(pair: Comparison) -> Comparison:
    """A pair without the columns that tell of its own two answers."""
    columns = {k: v for k, v in pair.columns.items() if not k.endswith(("_chosen", "_rejected"))}
    return pair.model_copy(update={"columns": columns})
