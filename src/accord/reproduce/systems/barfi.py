"""52 BARFI: is a designer's hint used where it helps, and seen through where it misleads?

A room to cross, which pays at its far corner; a designer adds a hint that is right (nearness), wrong (a tenth of a success for each step half way,
again and again), or none. All arms are one program on as many episodes and updates of the policy: the controls stay in BARFI's warm-up, in which their
reward is what the room and the hint pay; where it is shaped, the hint is the potential.
"""

from accord.algorithms import BARFI
from accord.reproduce.claim import Arm, Claim, Measures, Primary
from accord.reproduce.luck import luck
from accord.reproduce.room import BATCH, EVERY, STEPS, reinforced, train
from accord.rewards import Reward
from accord.rewards.episodes import potential
from accord.worlds.room import camp, nothing, policy, toward
from accord.worlds.room.hints import middling, nearness

WARMUP, NEAR = 12, 0.1
LR, REWARD_LR = 5e-3, 2e-2
FIXED_LR = {"primary": (4e-2, 1.0), "naive": (8e-2, 1.0), "shaped": (4e-2, 1.0)}
"""Rate and weight of entropy of each way to be rewarded that doesn't learn: the best for all its hints, as BARFI's are,
by gold, and by what was earned among those that come within 0.005 of the best."""
RATES, ENTROPIES, REWARD_RATES = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2, 8e-2), (0.25, 1.0, 4.0), (5e-3, 2e-2, 8e-2)
HINTS = {"good": toward, "bad": camp, "none": nothing}

CLAIM = Claim(
    name="barfi",
    world="room",
    statement="At equal episodes and updates BARFI crosses the room more often than following a wrong hint does, no less often than without it; with a right hint no less often than by following "
    "that, and sooner than without; and without a hint no less often than REINFORCE.",
    primaries=(Primary("barfi bad", "naive bad"), Primary("barfi bad", "primary", says="not worse", delta=NEAR), Primary("barfi good", "naive good", says="not worse", delta=NEAR),
               Primary("barfi none", "primary", says="not worse", delta=NEAR), Primary("barfi good", "primary", measure="earned", delta=0.05)),
    arms=("primary", "naive good", "naive bad", "shaped good", "shaped bad", "barfi good", "barfi bad", "barfi none"),
    settings=(("episodes", f"{STEPS // EVERY + 1} x {BATCH}"), ("updates", f"{STEPS} of the policy, cosine, BARFI's at {LR}, of the reward one in {EVERY} at {REWARD_LR}; others at rate and entropy {FIXED_LR}"),
              ("warm-up", f"{WARMUP} updates"), ("grids", f"rates {RATES} x entropies {ENTROPIES}; of BARFI rates x reward rates {REWARD_RATES}"),
              ("chosen", "one setting of a method for all hints, by gold; within 0.005 of the best by what was earned"),
              ("compute", "equal episodes and updates; looking at the optimum makes a run of BARFI about 2.5 times as dear in passes of its small networks")),
)  # fmt: skip


def barfi(hint: Reward, *, lr: float = LR, reward_lr: float = REWARD_LR) -> Arm:
    def arm(seed: int) -> Measures:
        trained = policy(luck(seed))
        algorithm = BARFI(trained, hint, every=EVERY, warmup=WARMUP, seed=luck(seed))
        return train(algorithm, trained, seed, lr=lr, lr_of={"reward": reward_lr})

    return arm


FIXED = {
    "primary": nothing,
    "naive good": toward,
    "naive bad": camp,
    "shaped good": potential(nearness),
    "shaped bad": potential(middling),
}


def fixed(name: str, lr: float, entropy: float) -> Arm:
    return reinforced(FIXED[name], lr=lr, entropy=entropy)


ARMS = {
    **{name: fixed(name, *FIXED_LR[name.split()[0]]) for name in FIXED},
    **{f"barfi {name}": barfi(hint) for name, hint in HINTS.items()},
}
TUNING = {
    **{f"{name} rate {lr:g} entropy {e:g}": fixed(name, lr, e) for name in FIXED for lr in RATES for e in ENTROPIES},
    **{
        f"barfi {name} rate {lr:g} reward {k:g}": barfi(h, lr=lr, reward_lr=k)
        for name, h in HINTS.items()
        for lr in RATES
        for k in REWARD_RATES
    },
}
