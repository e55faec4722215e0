"""05 VPL: where people want opposite things, is a reward that is told a few of somebody's verdicts right more often than one for all?

Heads on frozen features of the base policy's answers; four camps share some tastes and are opposed in others; everybody who is judged by is new.
The control learns the same verdicts with a wider head, so that it computes no less; another reads verdicts of somebody else than whom it predicts.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from random import Random

from accord.feedback import Comparison, InContext, by_person, in_context
from accord.reproduce.claim import Claim, Measures, Primary
from accord.reproduce.letters_people import Pool, foreseen, people, pool, verdicts
from accord.reproduce.luck import luck
from accord.rewards import VPL, HeadReward
from accord.worlds.annotators import Annotator

PEOPLE, EACH, NEW, CONTEXT = 240, 10, 40, 8
LR = {"bradley-terry": 1e-3, "vpl": 1e-3}
EPOCHS, LATENT, KL, WIDE = 10, 8, 1e-3, 896
RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates among which those of treatment and control are chosen, each by gold on tuning seeds."""

CLAIM = Claim(
    name="variational-preference-learning",
    world="letters",
    statement="Of new people, each known by eight verdicts, VPL foresees more of what their camps are apart in than one Bradley-Terry reward, not "
    "less of what all want, and the gain is gone where it is told verdicts of others.",
    primaries=(
        Primary("vpl", "bradley-terry", measure="apart", delta=0.03),
        Primary("vpl", "bradley-terry", "not worse", measure="alike", delta=0.03),
        Primary("strangers", "bradley-terry", "equal", measure="apart", delta=0.03),
    ),
    arms=("bradley-terry", "strangers", "vpl", "known"),
    settings=(("people", f"{PEOPLE} of four camps, {EACH} verdicts each; {NEW} new ones"), ("verdicts of a new one", str(CONTEXT)),
              ("lr", f"{LR['vpl']}, of Bradley-Terry {LR['bradley-terry']}"), ("epochs", f"{EPOCHS}, all arms"), ("latent, kl", f"{LATENT} {KL}"), ("width of Bradley-Terry's head", str(WIDE))),
)  # fmt: skip


@lru_cache(maxsize=1)
def said(seed: int) -> list[Comparison]:
    return verdicts(pool(seed), people(PEOPLE, seed), EACH, seed)


def newcomers(seed: int) -> list[Annotator]:
    return people(NEW, seed, name="new")


def bradley_terry(seed: int, lr: float = LR["bradley-terry"]) -> Measures:
    """One reward for all."""
    table = pool(seed)
    values = table.values(_head(table, said(seed), seed, lr))
    return foreseen(table, newcomers(seed), lambda person: values)


def known(seed: int) -> Measures:
    """One reward for each camp, of people whose camp is known."""
    table = pool(seed)
    camps = {g: table.values(_head(table, [p for p in said(seed) if p.columns["camp"] == g], seed)) for g in range(4)}
    return foreseen(table, newcomers(seed), lambda person: camps[person.group])


def vpl(seed: int, lr: float = LR["vpl"]) -> Measures:
    return _told(seed, in_context(said(seed), CONTEXT, seed=seed), 0, lr)


def strangers(seed: int) -> Measures:
    """Everybody is known by the verdicts of somebody else: of another in training, of the next one in tests."""
    rows = in_context(said(seed), CONTEXT, seed=seed)
    others = Random(seed).sample(rows, len(rows))
    return _told(seed, [replace(row, context=other.context) for row, other in zip(rows, others, strict=True)], 1)


def _told(seed: int, rows: Sequence[InContext], off: int, lr: float = LR["vpl"]) -> Measures:
    table, new = pool(seed), newcomers(seed)
    model = VPL(table, latent=LATENT, kl=KL, seed=luck(seed)).fitted(rows, lr=lr, epochs=EPOCHS, seed=luck(seed))
    told = by_person(verdicts(table, new, CONTEXT, seed))
    of = {p.name: told[new[(i + off) % NEW].name] for i, p in enumerate(new)}

    def known_by(n: int) -> Measures:
        return foreseen(table, new, lambda person: table.values(model.for_newcomer(of[person.name][:n])))

    return {**known_by(CONTEXT), **{f"apart@{n}": known_by(n)["apart"] for n in (2, 4)}}


def _head(table: Pool, pairs: Sequence[Comparison], seed: int, lr: float = LR["bradley-terry"]) -> HeadReward:
    return HeadReward(table, hidden=WIDE, seed=luck(seed)).fitted(
        pairs, lr=lr, epochs=EPOCHS, batch_size=32, seed=luck(seed)
    )


ARMS = {"bradley-terry": bradley_terry, "strangers": strangers, "vpl": vpl, "known": known}
TUNING = {
    f"{name} {lr:g}": partial(arm, lr=lr)
    for name, arm in {"bradley-terry": bradley_terry, "vpl": vpl}.items() for lr in RATES
}  # fmt: skip
