"""Every reward, how it learns and what is done with it, on another device beside the CPU, and in half precision."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord import rewards
from accord.engine import fit
from accord.feedback import Task, in_context, with_picture
from accord.policies.base import Group
from accord.rewards import BradleyTerry, References, score
from accord.rewards.fitting import RewardFitting
from accord.rewards.helpsteer2_preference import farthest
from accord.worlds import letters
from conftest import tiny_policy, tiny_reward
from test_devices_words import PAIRS, SHORT, TASKS, words
from tiny_pipelines import picture
from tiny_seeing import tiny as tiny_that_sees
from two_devices import CPU, both, first_step, on

ON_WORDS: dict[str, Callable[[BradleyTerry, References], Any]] = {
    "learned": lambda learned, base: learned,
    "par": rewards.par,
    "lsc-rewards": rewards.logsigmoid_centred,
    "reward-ensembles": lambda learned, base: rewards.Ensemble([learned, LENGTH], "mean-std"),
    "sum": lambda learned, base: rewards.combine({"a": learned, "b": LENGTH}),
    "and": lambda learned, base: rewards.combine({"a": learned, "b": LENGTH}, "logsigmoid-sum", references={"a": base}),
    "harmonic": lambda learned, base: rewards.combine({"a": rewards.par(learned, base), "b": rewards.par(LENGTH, NONE)}, "harmonic"),
    "running": lambda learned, base: rewards.standardise(learned),
    "harmo": lambda learned, base: rewards.Hybrid(rewards.par(learned, base), LENGTH),
    "toolrl": lambda learned, base: rewards.combine({"a": learned, "b": rewards.ToolCalls("kind")}),
    "contrast-instructions": lambda learned, base: rewards.RewardFusion(learned, PAIRS, rewards.TrunkFeatures(learned), near=0.1),
    "dmoerm": lambda learned, base: rewards.DMoERM(lambda prompts: ["all"] * len(prompts), {"all": rewards.CapabilityMixture(deepcopy(learned), ["logic", "tone"], lora=2)}),
    "polar": lambda learned, base: discriminator(learned),
    "basereward": lambda learned, base: rewards.BaseReward(rewards.TrunkFeatures(learned)).to(learned.device).fitted(PAIRS, steps=1),
}  # fmt: skip
"""Rewards of a learned one and the base's own, those of the catalogue by their names there."""

BESIDE = [p.model_copy(update={"columns": {"reference": "it is 5 ."}}) for p in PAIRS]


def discriminator(learned: BradleyTerry) -> rewards.PolicyDiscriminator:
    """Whose embedding grows on the CPU: on the pretended device it can't."""
    made = rewards.PolicyDiscriminator(deepcopy(learned).cpu(), between=" ", answer_tokens=40).to(learned.device)
    return made.fitted(BESIDE, steps=1, lr=1e-3)


LENGTH, NONE = rewards.length_penalty(1), References({t.prompt: torch.zeros(1) for t in TASKS})


def test_rewards_on_words_are_the_cpus(far: torch.device) -> None:
    prompts, texts = [t.prompt for t in TASKS], ["it is 5 .", "no ."]

    columns = {
        "kind": ['<tool_call>{"name": "news", "parameters": {}}</tool_call>', "it is 5 ."],
        "reference": ["it is 5 ."] * 2,
    }

    def all_of(device: torch.device) -> dict[str, float]:
        torch.manual_seed(0)
        learned = BradleyTerry.fit(PAIRS, BradleyTerry.load(letters.WEIGHTS, device=device), steps=1, progress=False, batch_size=2)  # fmt: skip
        base = References.sample(learned, tiny_policy().to(device), prompts, 3, SHORT)
        said = {
            n: score(make(learned, base), prompts=prompts, completions=texts, **columns) for n, make in ON_WORDS.items()
        }
        return {f"{n} {i}": float(v) for n, s in said.items() for i, v in enumerate(s.values)}

    both(far, all_of)


def learned(device: torch.device, seed: int = 0) -> BradleyTerry:
    """A reward that has learned something, there."""
    fresh = BradleyTerry.load(letters.WEIGHTS, device=device)
    return BradleyTerry.fit(PAIRS, fresh, steps=1, lr=1e-3, progress=False, batch_size=2, seed=seed)


def expert(learned: BradleyTerry) -> RewardFitting:
    """One of two, that is to learn."""
    model = rewards.CapabilityMixture(learned, ["logic", "tone"], lora=2).base.model
    model.enable_adapter_layers()
    model.set_adapter("tone")
    return RewardFitting(learned)


MENDED = [p.model_copy(update={"columns": {"target": 0.9, "margin": 0.5}}) for p in PAIRS]
MOVED = [Group(t.prompt, ("it is 4 .", "no .")) for t in TASKS]

FITTINGS: dict[str, Callable[[torch.device], Any]] = {
    "secrets-rlhf-rm": lambda device: rewards.StrengthFitting(learned(device)),
    "contrast": lambda device: rewards.ContrastiveFitting(learned(device), how="swav", rate=1e-6).to(device),
    "experts": lambda device: expert(learned(device)),
    "ahead": lambda device: rewards.MetaFitting(learned(device), MOVED),
    "collaborative-reward-modeling": lambda device: rewards.CollaborativeRewardModeling(learned(device), learned(device, 1), MENDED, warm=0.0),
}  # fmt: skip
"""How rewards learn, those of the catalogue by their names there."""


@pytest.mark.parametrize("name", FITTINGS)
def test_a_rewards_first_step_is_the_cpus(name: str, far: torch.device) -> None:
    both(far, lambda device: first_step(FITTINGS[name](device), MENDED))


JUDGED = [p.model_copy(update={"annotator": "who", "context": "be short", "columns": {"score_chosen": 4.0, "score_rejected": 1.0 + i}})
          for i, p in enumerate(PAIRS)]  # fmt: skip
TOGETHER = [Task(prompt=t.prompt, columns={"task": "all"}) for t in TASKS]
CALM: dict[str, Any] = {"steps": 1, "batch_size": 2, "lr": 1e-6}  # Adam makes much of a little, of rounding too


def weighed(head: rewards.HeadReward) -> rewards.HeadReward:
    fit(rewards.MORE(head, by="score_rejected"), JUDGED, progress=False, **CALM)
    return head


def beyond(head: rewards.HeadReward) -> rewards.HeadReward:
    before = {k: v.clone() for k, v in head.state_dict().items()}
    head.fitted(JUDGED, **CALM).load_state_dict(farthest(head, before, JUDGED))
    return head


class Shown:
    """Features of a tiny vision-language model, which sees a picture in every prompt."""

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.seeing = tiny_that_sees()
        self.seeing.model.to(device, dtype)
        self.width, self.fingerprint = self.seeing.width, self.seeing.fingerprint

    def __call__(self, prompts: Any, completions: Any) -> Tensor:
        return self.seeing([with_picture(p, picture(0)) for p in prompts], completions)


HEADS: dict[str, Callable[[rewards.Features, torch.device], Any]] = {
    "head": lambda f, d: rewards.HeadReward(f, hidden=8).to(d).fitted(JUDGED, **CALM),
    "committee": lambda f, d: rewards.Committee(f, 2, hidden=8).to(d).fitted(JUDGED, **CALM),
    "basereward": lambda f, d: rewards.BaseReward(f).to(d).fitted(JUDGED, **CALM),
    "basereward on pictures": lambda f, d: rewards.BaseReward(Shown(d)).to(d).fitted(JUDGED, **CALM),
    "contrast-instructions": lambda f, d: rewards.RewardFusion(rewards.HeadReward(f, hidden=8).to(d), JUDGED, f, near=0.1),
    "dmoerm": lambda f, d: rewards.DMoERM(rewards.Router(f, ["all"]).to(d).fitted(TOGETHER, **CALM), {"all": rewards.HeadReward(f).to(d)}),
    "variational-preference-learning": lambda f, d: rewards.VPL(f, latent=2, hidden=8).to(d).fitted(in_context(JUDGED, 1), **CALM),
    "pal": lambda f, d: rewards.PAL(f, ["who"], hidden=8).to(d).fitted(JUDGED, lr_of={"tastes": 1e-6}, **CALM),
    "pal by angle": lambda f, d: rewards.PAL(f, ["who"], by="angle", hidden=8).to(d).fitted(JUDGED, lr_of={"tastes": 1e-6}, **CALM),
    "reward-robust-rlhf": lambda f, d: rewards.BayesianEnsemble(f, heads=2, hidden=8).to(d).taught_by(
        words, [t.prompt for t in TASKS], ["it is 5 .", "no ."], **CALM
    ),
    "more-diversified-preferences": lambda f, d: weighed(rewards.HeadReward(f, hidden=8).to(d)),
    "context-aware-preference": lambda f, d: rewards.ContextAware(f, hidden=8, contexts=["be short"]).to(d).fitted(JUDGED, **CALM),
    "helpsteer2-preference": lambda f, d: beyond(rewards.HeadReward(f, hidden=8).to(d)),
}  # fmt: skip
"""Heads on frozen features, those of the catalogue by their names there."""


@pytest.mark.parametrize("name", HEADS)
def test_a_head_on_frozen_features_is_the_cpus(name: str, far: torch.device) -> None:
    samples = {
        "prompts": [t.prompt for t in TASKS],
        "completions": ["it is 5 .", "no ."],
        "reference": ["it is 5 ."] * 2,
    }

    def said(device: torch.device) -> dict[str, float]:
        made = HEADS[name](rewards.TrunkFeatures(tiny_policy().to(device)), device)
        assert {p.device.type for p in made.parameters()} == {device.type}
        of = {"": made, **({"newcomer": made.for_newcomer(JUDGED)} if hasattr(made, "for_newcomer") else {})}
        return {f"{n} {i}": float(v) for n, r in of.items() for i, v in enumerate(score(r, **samples).values)}  # type: ignore[arg-type]

    both(far, said)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_in_half_precision_says_nearly_the_same(name: str) -> None:
    made = HEADS[name](rewards.TrunkFeatures(tiny_policy()), CPU)
    samples = {
        "prompts": [t.prompt for t in TASKS],
        "completions": ["it is 5 .", "no ."],
        "reference": ["it is 5 ."] * 2,
    }
    single = score(made, **samples).values
    half = score(made.to(torch.bfloat16), **samples).values
    assert half.dtype == torch.float32
    assert torch.allclose(half, single, rtol=0.05, atol=0.05)
    if hasattr(made, "for_newcomer"):
        assert score(made.for_newcomer(JUDGED), **samples).values.isfinite().all()


def test_features_that_see_are_nearly_the_same_in_half_precision() -> None:
    single, half = (Shown(CPU, d)(["what is it ?"], ["rain"]) for d in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.float32
    assert torch.allclose(half, single, rtol=0.05, atol=0.1)
    assert not torch.equal(half, single)


WHOLE: dict[str, Callable[[rewards.Features], Any]] = {
    "dmoerm": lambda f: rewards.DMoERM(rewards.Router(f, ["all"]), {"all": rewards.HeadReward(f, hidden=8)}),
    "mixture": lambda f: rewards.CapabilityMixture(tiny_reward(), ["logic", "tone"], lora=2, hidden=8),
    "polar": lambda f: rewards.PolicyDiscriminator(tiny_reward(), between=" ", answer_tokens=40),
    "fusion": lambda f: rewards.RewardFusion(tiny_reward(), JUDGED, f, near=0.1),
}
"""Rewards that are made of others."""
BESIDE_ONE: dict[str, Any] = {"prompts": [t.prompt for t in TASKS], "completions": ["it is 5 .", "no ."], "reference": ["it is 5 ."] * 2}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_saved_reward_opens_on_the_device(name: str, far: torch.device, tmp_path: Path) -> None:
    features = rewards.TrunkFeatures(tiny_policy())
    made = WHOLE[name](features)
    made.save(tmp_path / "rm")
    there = rewards.load(tmp_path / "rm", features, device=far)
    assert {p.device.type for p in there.parameters()} == {far.type}
    assert torch.allclose(score(there, **BESIDE_ONE).values, score(made, **BESIDE_ONE).values, atol=1e-4)


@pytest.mark.parametrize("name", ["mixture", "polar", "fusion"])
def test_a_reward_of_parts_in_half_precision_says_nearly_the_same(name: str) -> None:
    made = WHOLE[name](rewards.TrunkFeatures(tiny_policy()))
    single, half = (score(r, **BESIDE_ONE).values for r in (made, deepcopy(made).to(torch.bfloat16)))
    assert half.dtype == torch.float32
    assert torch.allclose(half, single, rtol=0.05, atol=0.1)


def test_heads_learn_in_half_precision() -> None:
    f = rewards.TrunkFeatures(tiny_policy())
    for name, make in BARE.items():
        made = make(f).to(torch.bfloat16)
        before = {k: v.clone() for k, v in made.state_dict().items()}
        learned = made.fitted(in_context(JUDGED, 1) if name == "vpl" else JUDGED, steps=1, lr=0.1)
        assert all(v.dtype == torch.bfloat16 for v in made.parameters()), name
        assert any(not torch.equal(v, before[k]) for k, v in learned.state_dict().items()), name


BARE: dict[str, Callable[[rewards.Features], Any]] = {
    "head": lambda f: rewards.HeadReward(f, hidden=8),
    "committee": lambda f: rewards.Committee(f, 2, hidden=8),
    "vpl": lambda f: rewards.VPL(f, latent=2, hidden=8),
    "pal": lambda f: rewards.PAL(f, ["who"], hidden=8),
    "pal by angle": lambda f: rewards.PAL(f, ["who"], by="angle", hidden=8),
    "basereward": rewards.BaseReward,
}
"""Heads that have learned nothing yet."""

CURATED: dict[str, Callable[[torch.device], list[str]]] = {
    "skywork-reward-v2": lambda device: [
        b[0].provenance.status for b in rewards.DualAgreement(learned(device), learned(device, 1))(PAIRS)
    ],
    "voting": lambda device: [f"{b[0].columns['voted']:.4f}" for b in rewards.Voting([learned(device)])(PAIRS)],
    "tree-structured-reward": lambda device: [
        leaf.text
        for leaf in rewards.grown(tiny_policy().to(device), ["what is 2 plus 3 ?"], length=6, sampling=SHORT)[0]
    ],
}
"""What becomes of comparisons and answers, by names of the catalogue where it has one."""


@pytest.mark.parametrize("name", CURATED)
def test_curation_is_the_cpus(name: str, far: torch.device) -> None:
    assert on(far, lambda: CURATED[name](far)) == on(CPU, lambda: CURATED[name](CPU))
