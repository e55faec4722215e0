"""86 Inverse RL for language models: do demonstrations alone give a reward that is worth following?

The survey's core in its two forms, on as many demonstrations as imitation gets. Each round's reward learns to tell them from the policy's own
answers; nobody compares or rates anything.
"""

from functools import lru_cache, partial

from accord.algorithms import InverseRL, Supervised
from accord.algorithms.rounds.irl_llm_survey import Form
from accord.feedback import Example
from accord.policies.meter import metered
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.letters import CALM, watched
from accord.reproduce.letters_arms import FASTER, answers_and_kl, learned
from accord.reproduce.luck import luck
from accord.reproduce.rates import Maker, at_best, at_rates
from accord.worlds.letters import policy, tasks
from accord.worlds.letters.demonstrations import demonstrations
from accord.worlds.letters.feedback import SAMPLING

SHOWN, WRONG, EPOCHS, ROUNDS, STEPS, BATCH, GROUP, KL = 300, 0.3, 4, 2, 25, 12, 4, 0.04
IMITATION, ITEMS = 60, 16
LR = {"imitation": 2e-4, "one round": 2e-4, "max-entropy": 2e-4, "airl": 2e-4}

CLAIM = Claim(
    name="irl-llm-survey",
    world="letters",
    statement=f"{SHOWN} demonstrations, {WRONG:g} of them wrong in what they answer, give a reward whose policy has a higher gold than the base and not a lower "
    "one than imitation of the same; the adversarial form does not fall behind maximum entropy, nor two rounds behind one.",
    primaries=(Primary("max-entropy", "base"), Primary("max-entropy", "imitation", says="not worse"), Primary("airl", "max-entropy", says="not worse"),
               Primary("max-entropy", "one round", says="not worse")),
    arms=("imitation", "one round", "max-entropy", "airl"),
    seeds=12,
    settings=(("demonstrations", f"{SHOWN}, {WRONG} wrong"), ("reward", f"{EPOCHS} epochs, on the policy as it is"), ("rounds x steps", f"{ROUNDS} x {STEPS}"),
              ("prompts x answers", f"{BATCH} x {GROUP}"), ("lr", f"{LR}, cosine"), ("kl", str(KL)),
              ("imitation", f"{IMITATION} steps of {ITEMS}")),
)  # fmt: skip


@lru_cache(maxsize=1)
def shown(seed: int) -> list[Example]:
    return demonstrations(tasks(SHOWN, seed=seed + 31), seed, wrong=WRONG)


def inverse(form: Form, lr: float, *, rounds: int = ROUNDS) -> Arm:
    """As many steps and demonstrations, however many rounds they are shared out to."""

    def arm(seed: int) -> Measures:
        trained = policy()
        method = InverseRL(trained, form=form, rounds=rounds, epochs=EPOCHS, kl=KL, group_size=GROUP, sampling=SAMPLING)
        steps = ROUNDS * STEPS // rounds
        method.fit(shown(seed), steps=steps, batch_size=BATCH, lr=lr, seed=luck(seed), progress=False, evaluate=watched(trained, seed),
                   evaluate_every=steps, **CALM)  # fmt: skip
        with metered():
            return answers_and_kl(trained.eval(), seed)

    return arm


def imitating(lr: float) -> Arm:
    return learned(lambda p, seed: Supervised(p), shown, steps=IMITATION, batch_size=ITEMS, lr=lr)


MAKERS: dict[str, Maker] = {
    "imitation": imitating,
    "one round": partial(inverse, "max-entropy", rounds=1),
    "max-entropy": partial(inverse, "max-entropy"),
    "airl": partial(inverse, "airl"),
}
ARMS = at_best(MAKERS, LR)
TUNING = at_rates(MAKERS, FASTER)
