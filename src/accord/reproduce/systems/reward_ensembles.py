"""91 Reward ensembles: do five reward models choose better than one of the same compute, and are they hacked all the same?

The claim is judged on best-of-64; how each reward fares under on-policy training is recorded beside it, as curves.

Members are tiny models, pretrained from several seeds; each draw of members trains on fresh, few, flawed verdicts.
The single model is about five times as large, so that training and scoring cost all arms the same.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from torch import Tensor

from accord.engine import fit
from accord.engine.store import cache_folder
from accord.evaluation import best_of_n_curve
from accord.policies import LanguagePolicy, Rollouts
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters import FLAW, held_out, quality, rloo, verdicts
from accord.reproduce.luck import luck
from accord.rewards import BradleyTerry, Ensemble, Reward, score
from accord.worlds.letters import gold, policy, tasks
from accord.worlds.letters.corpus import PLAIN
from accord.worlds.letters.feedback import SAMPLING, reward_model
from accord.worlds.letters.train import pretrain

PAIRS, PROMPTS, N, MEMBERS, POOL = 400, 100, 64, 5, 8
SMALL, LARGE = (48, 2), (112, 2)
PRETRAINING = 250
RL_STEPS, RL_LR, RL_EVERY = 30, 5e-4, 6
NS = (4, 16, 64)

CLAIM = Claim(
    name="reward-ensembles",
    world="letters",
    statement="Choosing among 64 answers, five reward models of different pretraining are not worse than five that differ "
    "in fine-tuning only, and better than one model of five times the compute; all of them raise flattery over the base's.",
    primaries=(
        Primary("pretrain", "single"),
        Primary("pretrain", "finetune", "not worse"),
        Primary("pretrain", "base", measure="flattery", delta=0.1),
        Primary("finetune", "base", measure="flattery", delta=0.1),
        Primary("single", "base", measure="flattery", delta=0.1),
    ),
    arms=("base", "oracle", "one-small", "single", "finetune", "pretrain"),
    equal=("single", "finetune", "pretrain"),
    settings=(
        ("n", str(N)),
        ("pairs", str(PAIRS)),
        ("flaw", str(FLAW)),
        ("pool of pretrained models", str(POOL)),
        ("on-policy steps and lr, recorded only", f"{RL_STEPS} {RL_LR}"),
    ),
)


def chosen(reward: Callable[[int], Reward], *, on_policy: bool = False) -> Arm:
    """The best of 64 by the reward that is made of a seed; beside it, where asked, how a policy fares that trains on it."""

    def arm(seed: int) -> Measures:
        drawn, chooser = pool(seed), reward(seed)
        prompts = [str(p) for p in drawn.prompt_of_each()]
        said: Tensor = score(chooser, prompts=prompts, completions=drawn.completions, group=drawn.group.tolist()).values
        said = said.reshape(PROMPTS, N)
        true = gold(prompts=prompts, completions=drawn.completions).values.reshape(PROMPTS, N)
        rows = best_of_n_curve(said, {"gold": true}, NS)
        curves = {f"best-of-n gold@{n}": row["gold"] for n, row in zip(NS, rows, strict=True)}
        best = [i * N + int(j) for i, j in enumerate(said.argmax(-1))]
        if on_policy:
            with metered():
                curves |= trained(chooser, seed)
        return {**quality([prompts[i] for i in best], [drawn.completions[i] for i in best]), **curves}

    return arm


def base(seed: int) -> Measures:
    """All 64 answers alike."""
    drawn = pool(seed)
    return quality([str(p) for p in drawn.prompt_of_each()], drawn.completions)


def trained(liked: Reward, seed: int) -> Measures:
    """Gold and the reward itself while a policy trains on it: outside the arms' compute, which is that of best-of-n."""
    trained, curves = policy(), {}

    def look(step: int) -> Measures:
        prompts, completions = held_out(trained, seed, n=60)
        said = score(liked, prompts=prompts, completions=completions).values
        curves[f"on-policy gold@{step}"] = quality(prompts, completions)["gold"]
        curves[f"on-policy reward@{step}"] = float(said.mean())
        return {}

    fit(rloo(kl=0.0)(trained, liked), tasks(400, seed=seed + 1), steps=RL_STEPS, batch_size=8, lr=RL_LR, seed=luck(seed),
        evaluate=look, evaluate_every=RL_EVERY, progress=False)  # fmt: skip
    return curves


# The arms' rewards, trained anew: every arm pays for its own members.


def one_small(seed: int) -> Reward:
    return member(seed, pretrained(seed % POOL, *SMALL), 0)


def one_large(seed: int) -> Reward:
    return member(seed, pretrained(seed % POOL % 4, *LARGE), 0)


def five(seed: int, *, pretraining: bool) -> Reward:
    """An ensemble whose members differ in pretraining, or in fine-tuning alone."""
    starts = [(seed % POOL + i * pretraining) % POOL for i in range(MEMBERS)]
    return Ensemble([member(seed, pretrained(s, *SMALL), i) for i, s in enumerate(starts)])


def member(seed: int, start: Path, number: int) -> BradleyTerry:
    """A reward model on all verdicts of this seed; `number` changes the order of its data."""
    return reward_model(verdicts(seed, PAIRS), seed=luck(seed) + 31 * number, source=start, epochs=4)


def pretrained(number: int, width: int, layers: int) -> Path:
    """A tiny language model of this pretraining seed, made once."""
    folder = cache_folder() / "letters" / f"pretrained-{width}x{layers}-{PRETRAINING}-{number}"
    if not folder.is_dir():
        with metered():
            made: LanguagePolicy = pretrain(500 + number, steps=PRETRAINING, width=width, layers=layers, shares=PLAIN)[
                0
            ]
        made.save(folder)
    return folder


@lru_cache(maxsize=1)
def pool(seed: int) -> Rollouts:
    """64 answers of the base to each held-out request, shared by all arms."""
    with metered():
        return policy().sample([t.prompt for t in tasks(PROMPTS, seed=seed, split="test")], N, SAMPLING, seed=seed)


ARMS = {
    "base": base,
    "oracle": chosen(lambda seed: gold, on_policy=True),
    "one-small": chosen(one_small),
    "single": chosen(one_large, on_policy=True),
    "finetune": chosen(partial(five, pretraining=False), on_policy=True),
    "pretrain": chosen(partial(five, pretraining=True), on_policy=True),
}
