"""Every algorithm on words, and in an environment, on another device beside the CPU, and in half precision."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from accord import algorithms as a
from accord import rewards
from accord.evaluation import Probe
from accord.feedback import Comparison, Example, Label, Task
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import by_step
from accord.search import best_of_n
from accord.worlds import letters, room
from conftest import tiny_policy
from two_devices import CPU, both, first_step, on, same

TASKS = [
    Task(prompt=t.prompt, columns={**t.columns, **({"hint": "x"} if i else {})})
    for i, t in enumerate(letters.tasks(2, seed=1))
]
PAIRS = [Comparison(prompt=t.prompt, chosen="it is 5 .", rejected="no idea , sorry .") for t in TASKS]
SHORT = Sampling(max_new_tokens=6)


def words(*, prompts: Any, completions: Any, hint: Any = None, **columns: Any) -> list[float]:
    return [float(len(c)) for c in completions]


def numbered(*, completions: Any, **samples: Any) -> rewards.Scores:
    """Words, and an answer beside them."""
    return rewards.Scores.of(
        torch.tensor(words(completions=completions, **samples)), answer=[c[:1] for c in completions]
    )


PAIRS_SHOWN = [Example(prompt=c.prompt, completion=c.chosen) for c in PAIRS]
SCORED = [c.model_copy(update={"columns": {"score_chosen": 8 + i, "score_rejected": 2}}) for i, c in enumerate(PAIRS)]
LABELS = [Label(prompt=c.prompt, completion=c.chosen, label=bool(i)) for i, c in enumerate(PAIRS)]

TEXT: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "dpo": (a.DPO, PAIRS),
    "ipo": (a.IPO, PAIRS),
    "simpo": (a.SimPO, PAIRS),
    "orpo": (a.ORPO, PAIRS),
    "rpo": (a.RPO, PAIRS),
    "modpo": (lambda p: a.MODPO(p, words), PAIRS),
    "t-reg": (lambda p: a.TREG(p, alpha=1.0, better="thank you . {prompt}", worse="{prompt}"), PAIRS),
    "kto": (a.KTO, LABELS),
    "sft": (a.Supervised, PAIRS),
    "grpo": (lambda p: a.GRPO(p, words, group_size=3, kl=0.1, sampling=SHORT), TASKS),
    "rloo": (lambda p: a.RLOO(p, words, group_size=3, sampling=SHORT), TASKS),
    "ppo": (lambda p: a.PPO(p, words, sampling=SHORT), TASKS),
    "raft": (lambda p: a.RAFT(p, words, group_size=3, kl=0.1, unfinished="keep", sampling=SHORT), TASKS),
    "copo-consistency": (lambda p: a.COPO(p, numbered, blend="global", group_size=3, sampling=SHORT), TASKS),
    "reward-augmented-dpo": (a.RewardAugmentedDPO, SCORED),
    "amft": (lambda p: a.AMFT(p, words, PAIRS_SHOWN, mu=0.5, warmup=0, group_size=3, sampling=SHORT), TASKS),
    "dr-irl": (
        lambda p: a.DRIRL(p, rewards.BesideDemonstrations(words, column="answer"), group_size=3, sampling=SHORT),
        TASKS,
    ),
    "fine-grained-rlhf": (lambda p: a.FineGrainedRLHF(p, rewards.PrefixDifferences(words), sampling=SHORT), TASKS),
    "irl-llm-survey": (lambda p: a.InverseRL(p, rounds=1, group_size=2, sampling=SHORT), PAIRS_SHOWN),
    "acre": (lambda p: a.ACRE(p, words, layout="sentence", group_size=3, sampling=SHORT), TASKS),
    "pairwise-rl": (lambda p: a.PairwiseRL(p, rewards.Anchored(words, anchor="answer"), sampling=SHORT), TASKS),
    "scir": (
        lambda p: a.SCIR(
            p,
            tiny_policy(seed=1).to(p.device),
            rounds=1,
            samples=2,
            template="{prompt} {first} {second}",
            labels=("it", "the"),
            sampling=SHORT,
        ),
        TASKS,
    ),
    "dpa": (
        lambda p: a.DPA(
            p, rewards.combine({"long": words, "other": numbered}), rounds=1, samples=4, directions=2, sampling=SHORT
        ),
        TASKS,
    ),
    "self-rewarding": (lambda p: a.SelfRewarding(p, words, rounds=1, samples=3, sampling=SHORT), TASKS),
    "temporal-self-rewarding": (
        lambda p: a.TemporalSelfRewarding(p, words, rounds=1, samples=3, sampling=SHORT),
        TASKS,
    ),
    "cream": (lambda p: a.CREAM(p, tiny_policy(seed=1).to(p.device), rounds=1, samples=3, sampling=SHORT), TASKS),
}
"""Methods on words, by their names in the catalogue."""


@cache
def words_on_the_cpu(method: str) -> dict[str, float]:
    make, data = TEXT[method]
    return first_step(make(tiny_policy()), data)


@pytest.mark.parametrize("method", TEXT)
def test_a_first_step_on_words_is_the_cpus(method: str, far: torch.device) -> None:
    make, data = TEXT[method]
    should = on(CPU, lambda: words_on_the_cpu(method))
    same(first_step(make(tiny_policy().to(far)), data), should)


@pytest.mark.parametrize("method", TEXT)
def test_half_precision_on_words_trains_on_log_probs_in_single(method: str) -> None:
    make, data = TEXT[method]
    single, half = words_on_the_cpu(method), first_step(make(tiny_policy().to(torch.bfloat16)), data)
    if data is PAIRS:  # others draw other words, or weigh two that nearly cancel
        assert half["loss"] == pytest.approx(single["loss"], rel=0.03)
    p: LanguagePolicy = tiny_policy().to(torch.bfloat16)
    drawn = p.sample([TASKS[0].prompt], 2, SHORT)
    assert drawn.logprobs.dtype == p.logprobs(drawn).dtype == torch.float32


def test_searching_and_probing_words_is_as_on_the_cpu(far: torch.device) -> None:
    def found(device: torch.device) -> dict[str, float]:
        p = tiny_policy().to(device)
        best, said = best_of_n(p, words, TASKS, 4, SHORT)
        measures = Probe(p, TASKS, {"r": words}, SHORT, n=2, reference=p.freeze("now"))(0)
        assert all(x.device == CPU for x in (best.logprobs, said.values))
        return {**measures, **{f"best {i}": float(v) for i, v in enumerate(said.values)}}

    both(far, found)


ACTS: dict[str, Callable[[Any], Any]] = {
    "barfi": lambda p: a.BARFI(p, room.toward, warmup=0, sampling={"steps": 6}),
    "acting grpo": lambda p: a.GRPO(p, by_step(lambda before, action, after: after[:, 0]), group_size=3, kl=0.1, sampling={"steps": 6}),
}  # fmt: skip
"""Methods in an environment."""


@pytest.mark.parametrize("name", ACTS)
def test_a_first_step_in_an_environment_is_the_cpus_and_in_half_precision_nearly(name: str, far: torch.device) -> None:
    both(far, lambda device: first_step(ACTS[name](room.policy().to(device)), room.starts(2)))
    single, half = (
        first_step(ACTS[name](room.policy().to(CPU, kind)), room.starts(2)) for kind in (torch.float32, torch.bfloat16)
    )
    assert half["loss"] == pytest.approx(single["loss"], rel=0.03, abs=0.01)
