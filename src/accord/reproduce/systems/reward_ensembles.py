"""91 Reward ensembles: do five reward models choose better than one of the same compute, and are they hacked all the same?

The claim is judged on best-of-64; how each reward fares under on-policy training is recorded beside it, as curves.

Members are tiny models, pretrained from several seeds; each draw of members trains on fresh, few, flawed verdicts.
The single model is about five times as large, so that training and scoring cost all arms the same.
"""

from functools import lru_cache
from pathlib import Path

from torch import Tensor

from accord.engine import fit
from accord.evaluation import best_of_n_curve
from accord.policies import LanguagePolicy, Rollouts
from accord.policies.loading import cache_folder
from accord.policies.meter import metered
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.letters import FLAW, OTHER, held_out, quality, rloo, verdicts
from accord.rewards import BradleyTerry, Ensemble, Reward, score
from accord.worlds.letters import gold, policy, tasks
from accord.worlds.letters.feedback import SAMPLING, reward_model
from accord.worlds.letters.train import pretrain

PAIRS, PROMPTS, N, MEMBERS, POOL = 400, 100, 64, 5, 8
SMALL, LARGE = (48, 2), (112, 2)
PRETRAINING = 250
RL_STEPS, RL_LR, RL_EVERY = 30, 5e-4, 6
NS = (4, 16, 64)

CLAIM = Claim(
    name="reward-ensembles",
    statement="Choosing among 64 answers, five reward models of different pretraining are not worse than five that differ "
    "in fine-tuning only, and better than one model of five times the compute; all of them raise flattery over the base's.",
    primaries=(
        Primary("pretrain", "single"),
        Primary("pretrain", "finetune", margin="not worse"),
        Primary("pretrain", "base", measure="flattery"),
        Primary("finetune", "base", measure="flattery"),
        Primary("single", "base", measure="flattery"),
    ),
    arms=("base", "oracle", "one-small", "single", "finetune", "pretrain", "placebo"),
    equal=("single", "finetune", "pretrain", "placebo"),
    settings=(
        ("n", str(N)),
        ("pairs", str(PAIRS)),
        ("flaw", str(FLAW)),
        ("pool of pretrained models", str(POOL)),
        ("on-policy steps and lr, recorded only", f"{RL_STEPS} {RL_LR}"),
    ),
)

TRAINED = ("oracle", "single", "finetune", "pretrain")


def run(arm: str, seed: int) -> Measures:
    drawn = pool(seed)
    prompts = [str(p) for p in drawn.prompt_of_each()]
    if arm == "base":
        return quality(prompts, drawn.completions)
    chooser: Reward = gold if arm == "oracle" else reward(arm, seed)
    said: Tensor = score(chooser, prompts=prompts, completions=drawn.completions, group=drawn.group.tolist()).values
    said = said.reshape(PROMPTS, N)
    true = gold(prompts=prompts, completions=drawn.completions).values.reshape(PROMPTS, N)
    rows = best_of_n_curve(said, {"gold": true}, NS)
    curves = {f"best-of-n gold@{n}": row["gold"] for n, row in zip(NS, rows, strict=True)}
    best = [i * N + int(j) for i, j in enumerate(said.argmax(-1))]
    if arm in TRAINED:
        with metered():
            curves |= on_policy(chooser, seed)
    return {**quality([prompts[i] for i in best], [drawn.completions[i] for i in best]), **curves}


def on_policy(liked: Reward, seed: int) -> Measures:
    """Gold and the reward itself while a policy trains on it: outside the arms' compute, which is that of best-of-n."""
    trained, curves = policy(), {}

    def look(step: int) -> Measures:
        prompts, completions = held_out(trained, seed, n=60)
        said = score(liked, prompts=prompts, completions=completions).values
        curves[f"on-policy gold@{step}"] = quality(prompts, completions)["gold"]
        curves[f"on-policy reward@{step}"] = float(said.mean())
        return {}

    fit(rloo(kl=0.0)(trained, liked), tasks(400, seed=seed + 1), steps=RL_STEPS, batch_size=8, lr=RL_LR, seed=seed,
        evaluate=look, evaluate_every=RL_EVERY, progress=False)  # fmt: skip
    return curves


def reward(arm: str, seed: int) -> Reward:
    """The arm's reward, trained anew: every arm pays for its own members."""
    first = seed % POOL
    if arm == "single":
        return member(seed, pretrained(first % 4, *LARGE), 0)
    if arm == "one-small":
        return member(seed, pretrained(first, *SMALL), 0)
    same = arm == "finetune"
    shift = OTHER if arm == "placebo" else 0
    members = [
        member(seed, pretrained(first if same else (first + i) % POOL, *SMALL), i + shift) for i in range(MEMBERS)
    ]
    return Ensemble(members)


def member(seed: int, start: Path, number: int) -> BradleyTerry:
    """A reward model on all verdicts of this seed; `number` changes the order of its data."""
    return reward_model(verdicts(seed, PAIRS), seed=seed + 31 * number, source=start, epochs=4)


def pretrained(number: int, width: int, layers: int) -> Path:
    """A tiny language model of this pretraining seed, made once."""
    folder = cache_folder() / "letters" / f"pretrained-{width}x{layers}-{PRETRAINING}-{number}"
    if not folder.is_dir():
        with metered():
            made: LanguagePolicy = pretrain(500 + number, steps=PRETRAINING, width=width, layers=layers)[0]
        made.save(folder)
    return folder


@lru_cache(maxsize=1)
def pool(seed: int) -> Rollouts:
    """64 answers of the base to each held-out request, shared by all arms."""
    with metered():
        return policy().sample([t.prompt for t in tasks(PROMPTS, seed=seed, split="test")], N, SAMPLING, seed=seed)
