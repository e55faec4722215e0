"""accord curate: clean, weigh, flip, relabel and synthesise comparisons, from file to file."""

from functools import partial
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from accord.cli.data import at_least_one, say
from accord.cli.embedded import rows_of
from accord.cli.intake import count
from accord.cli.policies import check_policy, open_policy
from accord.cli.rewards import RewardSpec, open_reward
from accord.cli.voters import ALONE, Electorate, check_voters, mark, taught
from accord.engine.workers import check_workers
from accord.errors import ConfigError, wanted
from accord.feedback import Comparison, read
from accord.feedback.cleaning import Cleaning
from accord.policies import LanguagePolicy
from accord.policies.placement import device_of, dtype_of
from accord.rewards import DualAgreement
from accord.rewards.curating import PART, SAMPLE, Source
from accord.rewards.curating import curate as curated
from accord.rewards.curators import Curator, Relabelling, Synthesis, Voting
from accord.rewards.ledger import Ledger
from accord.rewards.skywork_reward_v2 import by_leading


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
    named: frozenset[str] = frozenset(),
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
        skip_bad: leave malformed records out, and those that compare nothing; the account says how many.
        chat: treat text prompts as a user's message.
        limit: read at most so many records.
        sample: comparisons by which voters are trained and shares become thresholds.
        part: comparisons at once.
        workers: of Ray, on CPUs; 0 works in this process.
        seed: of what is drawn or trained.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator.
        resume: go on from what was written, with the same data, options and weights.
        named: options that the call names.
    """
    at_least_one(heads=heads, sample=sample, part=part, limit=limit)
    if not voters and (flip or drop or soften):
        raise ConfigError("flip, drop and soften go by votes: say who votes (--voters), encoder:words for a first look")
    if (policy is None) != (reward is None):
        raise ConfigError("new pairs want both a policy that answers and a reward that ranks its answers")
    if agree is not None and len(agree) != 2:
        raise ConfigError(f"agree wants two rewards, that of checked labels first, but got {len(agree)}")
    encoders = any(taught(v, ALONE) for v in voters or ())
    refuse_idle(named, {
        "--voters": (voters, "margin"), "--judge": (judge, "sure"), "--policy": (policy, "answers", "gap", "sampling"), "--clean": (clean, "tests"),
        "a voter encoder:…": (encoders, "heads"),
    })  # fmt: skip
    if workers:
        wanted(device in ("auto", "cpu"), "workers compute on CPUs: leave device out", device)
        device = "cpu"
    precision = dtype_of(dtype, device_of(device))
    check_workers(workers)
    Ledger.open(Path(out), resume=resume)
    prompts = [r.prompt for file in tests or () for r in read(file)]
    source = Source(rows_of(data, (Comparison,), seed, limit), columns, skip_bad, limit, chat)
    next(iter(source), None)  # refused before models are opened, if there is nothing to read
    check_voters([*(voters or ()), *(agree or ()), *(x for x in (judge, reward) if x is not None)])
    if policy is not None and check_policy(policy) is not LanguagePolicy:
        raise ConfigError(f"{policy} makes pictures, which can't be written into a line of text: give a language model")

    opened = partial(open_reward, device=device, dtype=dtype)
    curators: list[Curator] = []
    marks: list[str] = []
    if voters:
        who = Electorate(voters, opened, heads=heads, noise=flip + drop, seed=seed, device=device)
        curators.append(Voting(who, flip=flip, drop=drop, soften=soften, margin=margin))
        marks += who.marks
    verdict = None if judge is None else opened(judge)
    if agree is not None:
        gold, best = map(opened, agree)
        curators.append(DualAgreement(gold, best, None if verdict is None else by_leading(verdict, sure)))
        marks += map(mark, (gold, best))
    elif verdict is not None:
        curators.append(Relabelling(verdict, sure=sure))
    if policy is not None:
        made, ranks = open_policy(policy, device=device, dtype=dtype, seed=seed), opened(reward)
        curators.append(Synthesis(made, ranks, answers=answers, gap=gap, sampling=sampling, seed=seed))
        marks += map(mark, (made, ranks))
    began = {"clean": clean, "tests": tests, "voters": voters, "heads": heads, "flip": flip, "drop": drop, "soften": soften, "margin": margin, "agree": agree,
             "judge": judge, "sure": sure, "policy": policy, "reward": reward, "answers": answers, "gap": gap, "sampling": sampling,
             "dtype": str(precision), "weights": [*marks, mark(verdict)]}  # fmt: skip
    screen = Console(stderr=True)
    with Progress(console=screen, disable=not screen.is_terminal, transient=True) as bar:
        task = bar.add_task("comparisons", total=None)
        found = curated(source, out, curators, cleaning=Cleaning(prompts) if clean else None, sample=sample, part=part, workers=workers,
                        seed=seed, resume=resume, began=began, tick=lambda n: bar.advance(task, n))  # fmt: skip
    if source.left:
        say("left out " + ", ".join(f"{count(n, 'record')} ({why})" for why, n in source.left.items()))
    say(f"curated comparisons in {out}, the account beside it")
    print(dumps(found))


def refuse_idle(named: frozenset[str], owners: dict[str, tuple[Any, ...]]) -> None:
    """Refuse options that a call names and nothing would read; raises ConfigError for them.

    Args:
        owners: whether there is somebody to read them, and their names, by what it takes.
    """
    said = {name.partition(".")[0] for name in named}
    for owner, (there, *options) in owners.items():
        if idle := [o for o in options if o in said and not there]:
            raise ConfigError(f"nobody reads {', '.join(idle)}: that takes {owner}")
