"""accord curate: clean, weigh, flip, relabel and synthesise comparisons, from file to file."""

from collections.abc import Sequence
from functools import partial
from json import dumps
from typing import Any

from rich.console import Console
from rich.progress import Progress

from accord.cli.data import at_least_one, say
from accord.cli.embedded import rows_of
from accord.cli.policies import check_policy, open_policy
from accord.cli.rewards import RewardSpec, check_reward, open_reward
from accord.errors import ConfigError
from accord.feedback import Comparison, read
from accord.feedback.cleaning import Cleaning
from accord.policies import LanguagePolicy
from accord.rewards import (
    Committee,
    DualAgreement,
    Features,
    HeadReward,
    Reward,
    SentenceEncoder,
    SentenceFeatures,
    WordFeatures,
    collaborate,
)
from accord.rewards.curating import PART, SAMPLE, Source
from accord.rewards.curating import curate as curated
from accord.rewards.curators import Curator, Relabelling, Synthesis, Voting
from accord.rewards.features import Remembered
from accord.rewards.skywork_reward_v2 import by_leading

TAUGHT = ("encoder:", "peers:")
"""Before voters that are trained on the data themselves, on a frozen encoder or on words: heads that learn from all labels, or two that review each other's."""


def curate(
    data: str,
    out: str,
    clean: bool = True,
    tests: list[str] | None = None,
    voters: list[RewardSpec] | None = None,
    heads: int = 10,
    flip: float = 0.0,
    drop: float = 0.0,
    soften: float = 0.0,
    margin: bool = True,
    agree: list[RewardSpec] | None = None,
    judge: RewardSpec | None = None,
    sure: float = 0.0,
    policy: str | None = None,
    reward: RewardSpec | None = None,
    answers: int = 4,
    gap: float = 0.0,
    sampling: dict[str, Any] | None = None,
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    limit: int | None = None,
    sample: int = SAMPLE,
    part: int = PART,
    workers: int = 0,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    resume: bool = False,
) -> None:
    """Curate comparisons from file to file: clean them, vote on their labels, set labels anew, make new pairs; every record says what was done to it.

    Args:
        data: comparisons or rankings: a file, a hub dataset as name or name:split, or letters.
        out: .jsonl file to write; what was dropped stays in it with that status, and every command leaves it out.
        clean: drop duplicates, empty answers, and pairs of equal answers.
        tests: files whose prompts must not be learned from; what shares 13 words in a row with one is dropped.
        voters: reward models that vote on every label; encoder:words or encoder:minilm trains heads on a sample of the data itself, peers:words or peers:minilm two that review each other's labels (CRM), flip and drop being taken as wrong.
        heads: how many each encoder: gets.
        flip: share of labels that is flipped, the weakest votes first.
        drop: share dropped, the next weakest.
        soften: how much a label of negative strength is doubted, in [0, 0.5).
        margin: give each pair its strength as margin, else 0.
        agree: two rewards, one of labels that people checked and the best other one: a label stays where the first agrees and the second, or the judge, too; what both deny is flipped (Skywork-Reward-V2).
        judge: a reward whose verdict replaces the label; with agree it is asked only where the second denies what the first agrees to.
        sure: by how much an answer must lead for the judge to have a verdict.
        policy: answers every prompt some times more, for new pairs.
        reward: by which the best of these answers is preferred to the worst.
        answers: of the policy to each prompt.
        gap: by how much the best has to lead.
        sampling: how the policy answers.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out, and those that compare nothing.
        chat: treat text prompts as a user's message.
        limit: read at most so many records.
        sample: comparisons by which voters are trained and shares become thresholds.
        part: comparisons at once.
        workers: of Ray; 0 works in this process.
        seed: of what is drawn or trained.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator.
        resume: go on from what was written.
    """
    at_least_one(heads=heads, sample=sample, part=part, limit=limit)
    if not voters and (flip or drop or soften):
        raise ConfigError("flip, drop and soften go by votes: say who votes (--voters), encoder:words for a first look")
    if (policy is None) != (reward is None):
        raise ConfigError("new pairs want both a policy that answers and a reward that ranks its answers")
    if agree is not None and len(agree) != 2:
        raise ConfigError(f"agree wants two rewards, that of checked labels first, but got {len(agree)}")
    for spec in [
        *(v for v in voters or () if not _taught(v)),
        *(agree or ()),
        *(x for x in (judge, reward) if x is not None),
    ]:
        check_reward(spec)
    if policy is not None and check_policy(policy) is not LanguagePolicy:
        raise ConfigError(f"{policy} makes pictures, which can't be written into a line of text: give a language model")
    opened = partial(open_reward, device=device, dtype=dtype)
    curators: list[Curator] = []
    if voters:
        who = partial(electorate, voters, heads=heads, noise=flip + drop, seed=seed, device=device, opened=opened)
        curators.append(Voting(who, flip=flip, drop=drop, soften=soften, margin=margin))
    verdict = None if judge is None else opened(judge)
    if agree is not None:
        gold, best = map(opened, agree)
        curators.append(DualAgreement(gold, best, None if verdict is None else by_leading(verdict, sure)))
    elif verdict is not None:
        curators.append(Relabelling(verdict, sure=sure))
    if policy is not None:
        made = open_policy(
            policy, lora=None, gradient_checkpointing=False, device=device, dtype=dtype, seed=seed, size=None
        )
        curators.append(Synthesis(made, opened(reward), answers=answers, gap=gap, sampling=sampling, seed=seed))
    prompts = [r.prompt for file in tests or () for r in read(file)]
    source = Source(rows_of(data, (Comparison,), seed, limit), columns, skip_bad, limit, chat)
    began = {"clean": clean, "tests": tests, "voters": voters, "heads": heads, "flip": flip, "drop": drop, "soften": soften, "margin": margin, "agree": agree,
             "judge": judge, "sure": sure, "policy": policy, "reward": reward, "answers": answers, "gap": gap, "sampling": sampling}  # fmt: skip
    screen = Console(stderr=True)
    with Progress(console=screen, disable=not screen.is_terminal, transient=True) as bar:
        task = bar.add_task("comparisons", total=None)
        found = curated(source, out, curators, cleaning=Cleaning(prompts) if clean else None, sample=sample, part=part, workers=workers,
                        seed=seed, resume=resume, began=began, tick=lambda n: bar.advance(task, n))  # fmt: skip
    say(f"curated comparisons in {out}, the account beside it")
    print(dumps(found))


def electorate(
    voters: Sequence[RewardSpec],
    some: Sequence[Comparison],
    *,
    heads: int,
    noise: float,
    seed: int,
    device: str,
    opened: Any,
) -> list[Reward]:
    """The voters; those that are taught are taught on these comparisons, for a pass or three: longer they would learn wrong labels by heart."""
    found: list[Reward] = []
    for voter in voters:
        kind, _, name = voter.partition(":") if isinstance(voter, str) else ("", "", "")
        if not _taught(voter):
            found.append(opened(voter))
        elif kind == "encoder":
            found.append(Committee(_features(name, device), heads, seed=seed).fitted(some, epochs=1, lr=1e-2))
        else:
            table = Remembered(_features(name, device))
            one, other = (HeadReward(table, hidden=0, seed=seed + i) for i in range(2))
            collaborate(one, other, some, noise=noise, epochs=3, lr=1e-2, seed=seed)
            one.features = other.features = table.features  # what is remembered of the sample is of no more use
            found += [one, other]
    return found


def _taught(spec: RewardSpec) -> bool:
    return isinstance(spec, str) and spec.startswith(TAUGHT)


def _features(name: str, device: str) -> Features:
    return WordFeatures() if name == "words" else SentenceFeatures(SentenceEncoder(name, device=device, keep=False))
