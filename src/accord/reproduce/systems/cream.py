"""09 CREAM: does trusting one's own labels only as far as two versions of the model agree keep self-rewarding from drifting?

M0 is the base policy, M1 has imitated a few good answers: what it prefers since then is a real but noisy sign of quality.
"""

from functools import lru_cache
from random import Random
from statistics import fmean

from accord.algorithms import CREAM, Supervised
from accord.algorithms.rounds.cream import Trust
from accord.engine import Training, fit
from accord.feedback import Example
from accord.policies import LanguagePolicy
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.course import note
from accord.reproduce.letters import answers, kl
from accord.reproduce.luck import luck
from accord.rewards import Scores
from accord.worlds.letters import compose, gold, parse_request, policy, tasks
from accord.worlds.letters.compose import FLAWLESS
from accord.worlds.letters.feedback import SAMPLING

SEED_SET, PROMPTS, ROUNDS, SAMPLES = 200, 600, 3, 5
LR, BETA = 1e-4, 0.1

CLAIM = Claim(
    name="cream",
    world="letters",
    statement="After three rounds on its own answers, at equal samples and steps, CREAM's gold is above plain self-rewarding's, and the last two "
    "versions of its policy agree more on the order of answers.",
    primaries=(Primary("cream", "self-rewarding"), Primary("cream", "self-rewarding", measure="agreement", delta=0.05)),
    arms=("self-rewarding", "cream", "each", "m1"),
    equal=("self-rewarding", "cream", "each"),
    settings=(("seed set", str(SEED_SET)), ("prompts", f"{PROMPTS} over {ROUNDS} rounds"), ("answers", str(SAMPLES)), ("lr", f"{LR}, cosine"),
              ("beta", str(BETA))),
)  # fmt: skip


@lru_cache(maxsize=1)
def good_answers(seed: int) -> list[Example]:
    random = Random(f"good:{seed}")
    return [Example(prompt=t.prompt, completion=compose(parse_request(str(t.prompt)), random, unless_asked=FLAWLESS))
            for t in tasks(SEED_SET, seed=seed + 31)]  # fmt: skip


def taught(seed: int) -> LanguagePolicy:
    """M1: a little supervised training on good answers."""
    trained = policy()
    fit(
        Supervised(trained),
        good_answers(seed),
        steps=25,
        batch_size=16,
        lr=2e-4,
        schedule="cosine",
        warmup=0.1,
        seed=seed,
        progress=False,
    )
    return trained.eval()


def rounds(trust: Trust) -> Arm:
    def arm(seed: int) -> Measures:
        with metered():
            trained = taught(seed)
        method = CREAM(trained, policy(), rounds=ROUNDS, samples=SAMPLES, sampling=SAMPLING, beta=BETA, trust=trust)
        agreed: list[list[float]] = []
        correct: list[float] = []
        pairs = method.pairs

        def watched(drawn, reward, before):  # type: ignore[no-untyped-def]
            made = pairs(drawn, reward, before)
            agreed.append([float(p.columns["agreement"]) for p in made])
            with metered():
                worth = [gold(prompts=[str(p.prompt)] * 2, completions=[p.chosen, p.rejected]) for p in made]
                correct.append(fmean(_right(w) for w in worth))
                note(len(agreed), {"reward/gold": answers(trained, seed, n=60)["gold"], "label accuracy": correct[-1]})
            return made

        method.pairs = watched  # type: ignore[method-assign]
        training = Training(
            epochs=1, batch_size=16, lr=LR, schedule="cosine", warmup=0.1, seed=luck(seed), progress=False
        )
        method.fit(tasks(PROMPTS, seed=seed + 1), training)
        with metered():
            found = {**answers(trained.eval(), seed), "kl": kl(trained, seed)}
        return {**found, "agreement": fmean(agreed[-1]), "label accuracy": fmean(correct)}

    return arm


def _right(said: Scores) -> float:
    better = float(said.values[0] - said.values[1])
    return 0.5 if better == 0 else float(better > 0)


def m1(seed: int) -> Measures:
    """Where the rounds begin."""
    return {**answers(taught(seed), seed), "agreement": 0.5, "kl": 0.0}


ARMS = {"self-rewarding": rounds("full"), "cream": rounds("average"), "each": rounds("each"), "m1": m1}
