"""19 RAFT: does imitating the best of K raise quality over imitating any of K, at less cost in fluency than GRPO?

Fluency is compared at equal reward: each arm records its path of (proxy reward, perplexity on the world's own text),
and the measure is the log-perplexity on that path where the proxy first reaches the fixed TARGET (its end, if never).
"""

from collections.abc import Callable
from itertools import pairwise
from random import Random

import numpy as np

from accord.algorithms import GRPO, RAFT, Rollout, Supervised
from accord.engine import Rows, Step
from accord.feedback import Example
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters import TESTS, answers, kl, proxy, requests, train, watched
from accord.rewards import Reward, Scores, score
from accord.worlds.letters import compose, parse_request, policy, tasks
from accord.worlds.letters.feedback import SAMPLING

STAGES, K, PROMPTS, PASSES, UPDATES, LR, RISE = 12, 8, 32, 3, 2, 1e-4, 0.3
RATES = (3e-5, 1e-4, 3e-4)
"""The same grid for RAFT and GRPO, by gold on seeds 1000 to 1002; the control takes its treatment's."""

CLAIM = Claim(
    name="raft",
    world="letters",
    statement="Fine-tuning on the best of 8 answers for 12 stages raises gold over fine-tuning on a random one of 8, and "
    f"where the proxy has risen by {RISE} its perplexity on the world's own text is not worse than GRPO's (by 0.02 nats).",
    primaries=(Primary("raft", "random"), Primary("raft", "grpo", "not worse", measure="nll", sign=-1, delta=0.02)),
    arms=("random", "raft", "grpo"),
    equal=("random", "raft"),
    settings=(
        ("stages", str(STAGES)),
        ("prompts x K", f"{PROMPTS} x {K}"),
        ("lr", f"{LR}, cosine"),
        ("passes over a stage, updates each", f"{PASSES}, {UPDATES}"),
        ("people's flaws", "mild"),
    ),
)


def flawed(seed: int) -> Reward:
    return proxy(seed, flaw="mild")


def stages(method: Callable[..., Rollout], reward: Callable[[int], Reward] = flawed, lr: float = LR) -> Arm:
    """The policy after its stages by a method on the reward that is made of a seed."""

    def arm(seed: int) -> Measures:
        trained = policy()
        path: list[tuple[float, float]] = []
        watch = watched(trained, seed, proxy=flawed(seed))

        def look(step: int) -> Measures:
            with metered():
                path.append((liked(trained, seed), nll(trained, seed)))
            return watch(step)

        algorithm = method(trained, reward(seed), group_size=K, sampling=SAMPLING)
        train(algorithm, requests(seed), seed, steps=STAGES, batch_size=PROMPTS, inner_epochs=PASSES,
              minibatches=UPDATES, lr=lr, evaluate=look)  # fmt: skip
        with metered():
            return {**answers(trained, seed), "kl": kl(trained, seed), "proxy": path[-1][0], "nll": at_rise(path),
                    "nll_at_end": path[-1][1]}  # fmt: skip

    return arm


class Coin:
    """Scores at random, at the proxy's price: the control samples and scores as much and keeps anyone."""

    def __init__(self, seed: int) -> None:
        self.random, self.proxy = Random(seed), flawed(seed)

    def __call__(self, **samples: object) -> list[float]:
        return [self.random.random() for _ in score(self.proxy, **samples).values]  # type: ignore[arg-type]


def liked(trained: LanguagePolicy, seed: int) -> float:
    """Mean proxy reward on held-out requests."""
    asked = [t.prompt for t in tasks(TESTS, seed=seed, split="test")]
    drawn = trained.sample(asked, 1, SAMPLING, seed=seed + 3)
    said: Scores = score(flawed(seed), prompts=asked, completions=drawn.completions)
    return float(said.values.mean())


def nll(trained: LanguagePolicy, seed: int) -> float:
    """Nats a token on the world's own replies to held-out requests."""
    random = Random(f"fluency:{seed}")
    asked = [str(t.prompt) for t in tasks(150, seed=seed + 5, split="test")]
    text = Rows(Example(prompt=p, completion=compose(parse_request(p), random)) for p in asked)
    probe = Supervised(trained.freeze("now"))
    return probe(probe.experience(text, Step(0, 0))).metrics["nll"].value


def at_rise(path: list[tuple[float, float]]) -> float:
    """The perplexity where the proxy first stands RISE above its start, interpolated; at the end, if it never does."""
    start = path[0][0]
    for (r0, n0), (r1, n1) in pairwise(path):
        if r1 - start >= RISE:
            return float(np.interp(start + RISE, [r0, r1], [n0, n1]))
    return path[-1][1]


ARMS = {
    "random": stages(RAFT, Coin),
    "raft": stages(RAFT),
    "grpo": stages(GRPO),
}
TUNING = {f"{n} {lr:g}": stages(m, lr=lr) for lr in RATES for n, m in (("raft", RAFT), ("grpo", GRPO))}
