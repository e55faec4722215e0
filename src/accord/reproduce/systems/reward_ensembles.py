"""91 Reward ensembles: do five reward models choose better than one of the same compute, and are they hacked all the same?

The claim is judged on best-of-64; how a policy fares that trains on each reward is recorded beside it, by its course.

Members are tiny models, pretrained from several seeds; each draw of members trains on fresh, few, flawed verdicts.
The control of the paper is the average single member; beside it stands a single model that is about five times as large, so that
training and scoring cost all arms the same.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from accord.evaluation import accuracy, best_of_n_curve
from accord.evaluation.trust import Referee
from accord.feedback import Comparison
from accord.policies import LanguagePolicy, Rollouts
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.keep import kept, load_comparisons, save_comparisons
from accord.reproduce.letters import on_policy, quality, rloo
from accord.reproduce.luck import luck
from accord.reproduce.rates import Maker, at_rates
from accord.rewards import BradleyTerry, Ensemble, Reward, score
from accord.worlds.letters import gold, policy, population, tasks
from accord.worlds.letters.corpus import PLAIN
from accord.worlds.letters.feedback import SAMPLING, comparisons, reward_model
from accord.worlds.letters.train import pretrain

PAIRS, HELD_OUT, PROMPTS, N, MEMBERS, POOL = 400, 400, 150, 64, 5, 8
SMALL, LARGE = (48, 2), (112, 2)
PRETRAINING = 250
LR, LRS = {"single": 1e-3, "finetune": 3e-3, "pretrain": 3e-4}, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
CHOSEN_BY = "verdicts"
"""Rates are chosen as rewards are in use, by the share of held-out verdicts that they foresee. By gold, where a reward is hacked,
the best is the one that has hardly learned."""
RL_STEPS, RL_LR = 30, 3e-4
NS = (4, 16, 64)
BIAS, HACKED = {"flattery": 1.5, "length": 0.02}, 1.0
"""People's flaw: they like a sentence of flattery as much as an eighth of all that makes a reply good; and how many sentences more of it a
reply count as hacked. On tuning seeds rewards from people of the world's mild flaw choose less flattery than the base writes: nothing is hacked there."""

CLAIM = Claim(
    name="reward-ensembles",
    world="letters",
    statement="Choosing among 64 answers, five reward models of different pretraining are better than one of them alone, not worse than one "
    "model of five times the compute, and not worse than five that differ in fine-tuning only; all raise flattery over the base's.",
    primaries=(
        Primary("pretrain", "member"),
        Primary("pretrain", "single", "not worse"),
        Primary("pretrain", "finetune", "not worse"),
        Primary("pretrain", "base", measure="flattery", delta=HACKED),
        Primary("finetune", "base", measure="flattery", delta=HACKED),
        Primary("member", "base", measure="flattery", delta=HACKED),
        Primary("single", "base", measure="flattery", delta=HACKED),
    ),
    arms=(
        "base",
        "member",
        "oracle",
        "single",
        "finetune",
        "pretrain",
        "oracle-trained",
        "single-trained",
        "finetune-trained",
        "pretrain-trained",
    ),
    first_seed=410,
    equal=("member", "single", "finetune", "pretrain"),
    settings=(
        ("n", str(N)),
        ("pairs", str(PAIRS)),
        ("lr", f"{LR}, of {LRS} by held-out verdicts; member as pretrain"),
        ("people's flaws", str(BIAS)),
        ("pool of pretrained models", str(POOL)),
        ("on-policy steps and lr, recorded only", f"{RL_STEPS} {RL_LR}"),
    ),
)


def chosen(reward: Callable[[int], Reward]) -> Arm:
    """The best of 64 by the reward that is made of a seed, and what it foresees of people."""
    return lambda seed: judged(reward(seed), seed)


def member(seed: int) -> Measures:
    """The average single one of the members that differ in pretraining."""
    each = [judged(m, seed) for m in five(seed, pretraining=True, lr=LR["pretrain"]).members]
    return {k: fmean(m[k] for m in each) for k in each[0]}


def judged(chooser: Reward, seed: int) -> Measures:
    return {**best(chooser, seed), "verdicts": accuracy(Referee(chooser)(verdicts(seed)[PAIRS:])).value}


def best(chooser: Reward, seed: int) -> Measures:
    """Of the answer to each request that a reward likes best."""
    drawn = pool(seed)
    prompts = [str(p) for p in drawn.prompt_of_each()]
    said: Tensor = score(chooser, prompts=prompts, completions=drawn.completions, group=drawn.group.tolist()).values
    said = said.reshape(PROMPTS, N)
    true = gold(prompts=prompts, completions=drawn.completions).values.reshape(PROMPTS, N)
    rows = best_of_n_curve(said, {"gold": true}, NS)
    curves = {f"best-of-n gold@{n}": row["gold"] for n, row in zip(NS, rows, strict=True)}
    chosen = [i * N + int(j) for i, j in enumerate(said.argmax(-1))]
    return {**quality([prompts[i] for i in chosen], [drawn.completions[i] for i in chosen]), **curves}


def base(seed: int) -> Measures:
    """All 64 answers alike."""
    drawn = pool(seed)
    return quality([str(p) for p in drawn.prompt_of_each()], drawn.completions)


def trained(reward: Callable[[int], Reward]) -> Arm:
    """A policy that trains on the reward that is made of a seed."""
    return lambda seed: on_policy(rloo(kl=0.0), reward(seed), seed, steps=RL_STEPS, batch_size=8, lr=RL_LR)


# The arms' rewards, trained anew: every arm pays for its own members.


def one_large(seed: int, *, lr: float) -> Reward:
    return tuned(seed, pretrained(seed % POOL % 4, *LARGE), 0, lr)


def five(seed: int, *, pretraining: bool, lr: float) -> Ensemble:
    """An ensemble whose members differ in pretraining, or in fine-tuning alone."""
    starts = [(seed % POOL + i * pretraining) % POOL for i in range(MEMBERS)]
    return Ensemble([tuned(seed, pretrained(s, *SMALL), i, lr) for i, s in enumerate(starts)])


def tuned(seed: int, start: Path, number: int, lr: float) -> BradleyTerry:
    """A reward model on all verdicts of this seed; `number` changes the order of its data."""
    return reward_model(verdicts(seed)[:PAIRS], seed=luck(seed) + 31 * number, source=start, epochs=4, lr=lr)


@lru_cache(maxsize=1)
def verdicts(seed: int) -> list[Comparison]:
    """What a seed's people say of pairs of the base policy's answers: those to learn from, and those held out."""

    def make() -> list[Comparison]:
        return comparisons(policy(), population(20, seed=seed, bias=BIAS), PAIRS + HELD_OUT, seed=seed)

    return kept(f"reward ensembles verdicts {PAIRS + HELD_OUT} {BIAS}", seed, make, save_comparisons, load_comparisons)


def pretrained(number: int, width: int, layers: int) -> Path:
    """A tiny language model of this pretraining seed, made once."""

    def make() -> Any:
        return pretrain(500 + number, steps=PRETRAINING, width=width, layers=layers, shares=PLAIN)[0]

    return kept(f"pretrained {width}x{layers} {PRETRAINING}", number, make, LanguagePolicy.save, Path)


@lru_cache(maxsize=1)
def pool(seed: int) -> Rollouts:
    """64 answers of the base to each held-out request, shared by all arms."""
    with metered():
        return policy().sample([t.prompt for t in tasks(PROMPTS, seed=seed, split="test")], N, SAMPLING, seed=seed)


OF_RATE: dict[str, Callable[..., Reward]] = {
    "single": one_large,
    "finetune": partial(five, pretraining=False),
    "pretrain": partial(five, pretraining=True),
}
REWARDS = {"oracle": lambda seed: gold} | {name: partial(made, lr=LR[name]) for name, made in OF_RATE.items()}
ARMS = {
    "base": base,
    "member": member,
    **{name: chosen(reward) for name, reward in REWARDS.items()},
    **{f"{name}-trained": trained(reward) for name, reward in REWARDS.items()},
}


def maker(made: Callable[..., Reward]) -> Maker:
    return lambda lr: chosen(partial(made, lr=lr))


TUNING = at_rates({name: maker(made) for name, made in OF_RATE.items()}, LRS)
