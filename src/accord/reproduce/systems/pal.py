"""17 PAL: do as many prototypes as there are camps foresee more of opposed people than one, no less of people who agree, and know a newcomer sooner?

Heads on frozen features of the base policy's answers. The same people, with as many verdicts, either belong to four camps or share one taste.
A newcomer's control is a head of their own on their ten verdicts.
"""

from collections.abc import Callable
from functools import lru_cache, partial

from accord.feedback import Comparison, by_person
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.letters_people import foreseen, people, pool, verdicts
from accord.reproduce.luck import luck
from accord.rewards import PAL, HeadReward, Reward
from accord.worlds.annotators import Annotator

PEOPLE, EACH, NEW, FEW, PROTOTYPES = 60, 40, 40, 10, 4
LR, TASTES_LR, EPOCHS, STEPS = 1e-3, 0.2, 10, 40

CLAIM = Claim(
    name="pal",
    world="letters",
    statement="Four prototypes foresee more than one of what people of four camps are apart in, no less of people who share one taste, and know a "
    "newcomer of ten verdicts better than a reward of their own does.",
    primaries=(
        Primary("four", "one", measure="apart", delta=0.03),
        Primary("four-alike", "one-alike", "not worse", delta=0.03),
        Primary("newcomers", "own", delta=0.03),
    ),
    arms=("one", "four", "one-alike", "four-alike", "own", "newcomers"),
    settings=(("people", f"{PEOPLE} of four camps, or alike, {EACH} verdicts each; {NEW} new ones, {FEW} verdicts"),
              ("lr, of tastes, epochs", f"{LR} {TASTES_LR} {EPOCHS}, all arms"), ("ideal points", "by distance")),
)  # fmt: skip


@lru_cache(maxsize=2)
def said(seed: int, camps: int) -> list[Comparison]:
    return verdicts(pool(seed), people(PEOPLE, seed, camps=camps), EACH, seed)


def newcomers_of(seed: int) -> list[Annotator]:
    return people(NEW, seed, name="new")


def learned(prototypes: int, seed: int, camps: int = 4) -> PAL:
    return PAL.fit(said(seed, camps), pool(seed), prototypes=prototypes, lr=LR, lr_of={"tastes": TASTES_LR}, epochs=EPOCHS,
                   seed=luck(seed))  # fmt: skip


def seen(prototypes: int, seed: int, *, camps: int = 4) -> Measures:
    """Of the people who were learned from, on held-out answers."""
    table, model = pool(seed), learned(prototypes, seed, camps)
    return foreseen(
        table, people(PEOPLE, seed, camps=camps), lambda person: table.values(model.for_person(person.name))
    )


def newcomers(seed: int) -> Measures:
    model = learned(PROTOTYPES, seed)
    return _by_few(seed, lambda told: model.for_newcomer(told, steps=STEPS))


def own(seed: int) -> Measures:
    """A head of each newcomer's own."""
    return _by_few(
        seed,
        lambda told: HeadReward(pool(seed), hidden=0, seed=luck(seed)).fitted(
            told, steps=STEPS, lr=1e-2, batch_size=FEW
        ),
    )


def _by_few(seed: int, reward: Callable[[list[Comparison]], Reward]) -> Measures:
    table, new = pool(seed), newcomers_of(seed)
    told = by_person(verdicts(table, new, FEW, seed))
    return foreseen(table, new, lambda person: table.values(reward(told[person.name])))


ARMS = {
    "one": partial(seen, 1),
    "four": partial(seen, PROTOTYPES),
    "one-alike": partial(seen, 1, camps=1),
    "four-alike": partial(seen, PROTOTYPES, camps=1),
    "own": own,
    "newcomers": newcomers,
}
