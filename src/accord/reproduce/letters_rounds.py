"""What reproductions of rounds on letters share: policies that were taught a little, the policy as its own judge, and how all rounds are run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accord.algorithms import DPO, RoundMethod, Supervised
from accord.engine import Algorithm, fit
from accord.policies import LanguagePolicy
from accord.reproduce.keep import kept
from accord.reproduce.letters import CALM, requests, verdicts, watched
from accord.reproduce.luck import luck
from accord.rewards import PairJudge, PolicyJudge
from accord.worlds.letters import compare, policy, tasks
from accord.worlds.letters.demonstrations import demonstrations

SHOWN, SEED_PAIRS, SEED_NOISE = 200, 300, 0.25


def taught(seed: int) -> LanguagePolicy:
    """The base policy after a little imitation of replies of good form, half of which answer wrongly."""
    return _prepared(
        "taught",
        seed,
        Supervised,
        lambda: demonstrations(tasks(SHOWN, seed=seed + 31), seed, wrong=0.5),
        steps=10,
        lr=1e-4,
    )


def warmed(seed: int) -> LanguagePolicy:
    """The base policy after a little DPO on verdicts of which a quarter are random."""
    return _prepared("warmed", seed, DPO, lambda: verdicts(seed, SEED_PAIRS, noise=SEED_NOISE), steps=25, lr=1e-4)


def _prepared(name: str, seed: int, by: Callable[[Any], Algorithm], rows: Callable[[], Sequence[Any]], *, steps: int,
              lr: float) -> LanguagePolicy:  # fmt: skip
    def make() -> LanguagePolicy:
        made = policy()
        fit(by(made), rows(), steps=steps, batch_size=16, lr=lr, seed=seed, progress=False, **CALM)
        return made

    return kept(f"letters {name}", seed, make, LanguagePolicy.save, _load)


def _load(folder: Path) -> LanguagePolicy:
    return LanguagePolicy.load(folder)


JUDGING: dict[str, Any] = {
    "template": lambda prompt, first, second: compare(prompt, first, second),
    "labels": ("first", "second"),
}
"""How this world's policy is asked which of two replies is better."""


def own_judge(frozen: Any) -> PairJudge:
    """A policy as its own judge, asked in both orders."""
    return PairJudge(PolicyJudge(frozen), **JUDGING)


def in_rounds(method: RoundMethod, seed: int, *, prompts: int, **training: Any) -> list[Sequence[Any]]:
    """Run a method's rounds on the seed's requests, watched; returns what each of them learned from."""
    learned: list[Sequence[Any]] = []
    build = method.build

    def noted(now: Any, rows: Sequence[Any]) -> Any:
        algorithm, made = build(now, rows)
        learned.append(made)
        return algorithm, made

    method.build = noted  # type: ignore[method-assign]
    method.fit(
        requests(seed)[:prompts],
        batch_size=16,
        seed=luck(seed),
        progress=False,
        evaluate=watched(method.policy, seed),
        **{**CALM, **training},
    )
    return learned
