"""Every algorithm, reward and search on another device (a pretended one, or the one that ACCORD_DEVICE names) and in half precision,
beside the CPU in float32.

The pretended device computes on the CPU and refuses tensors of the CPU: what is put together across devices can't pass unseen, and the first
step must come out as the CPU's, but for rounding.
"""

import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from diffusers import LCMScheduler
from torch import Tensor

from accord import algorithms as a
from accord import rewards
from accord.catalogue import methods
from accord.engine import fit
from accord.evaluation import Probe
from accord.feedback import Comparison, Example, Label, Task, in_context, with_picture
from accord.identity import CallableEncoder, IdentityConsistency
from accord.policies import LanguagePolicy, Sampling
from accord.policies.base import Group
from accord.policies.diffusion import Denoising, DiffusionPolicy, EncodedOnce, invert, renoise
from accord.rewards import BradleyTerry, References, by_step, score
from accord.rewards.fitting import RewardFitting
from accord.rewards.helpsteer2_preference import farthest
from accord.search import best_of_n, noise_optimise
from accord.worlds import letters, room
from accord.worlds.portraits import proxies
from conftest import tiny_policy, tiny_reward
from tiny_families import TINY
from tiny_families import policy as of_family
from tiny_pipelines import brightness, contrast, folder, picture, policy
from tiny_seeing import tiny as tiny_that_sees

CPU = torch.device("cpu")
NAMED = os.environ.get("ACCORD_DEVICE")
if NAMED is None:
    import faraway  # while tests are collected: autograd learns of devices in a process's first backward pass


def fit_on(device: torch.device) -> None:
    """Where `fit` finds its accelerator."""
    PartialState()
    for state in (PartialState._shared_state, AcceleratorState._shared_state):
        if "device" in state:
            state["device"] = device


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device, and `fit` on it."""
    device = torch.device(NAMED) if NAMED else faraway.FAR
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # else a real one rounds convolutions
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    fit_on(device)
    yield device
    fit_on(CPU)


def on(device: torch.device, do: Callable[[], Any]) -> Any:
    """What comes of something done where `fit` trains on this device."""
    before = PartialState().device
    fit_on(device)
    try:
        return do()
    finally:
        fit_on(before)


def first_step(algorithm: Any, data: Any, **options: Any) -> dict[str, float]:
    """What is measured of a first step."""
    learn = algorithm.fit if isinstance(algorithm, a.RoundMethod) else partial(fit, algorithm)
    row = learn(data, steps=1, batch_size=2, progress=False, **options).metrics[0]
    assert row[next(k for k in row if k.startswith("grad_norm"))] > 0
    return {k: v for k, v in row.items() if k not in ("seconds", "step")}


def same(found: dict[str, float], should: dict[str, float], rel: float = 2e-4, absolute: float = 1e-4) -> None:
    """All but accuracies among ties: before a first step a policy is its reference, and rounding alone says who is ahead."""
    assert found.keys() == should.keys()
    ahead = should.get("margin", should.get("reward_good", 1.0) - should.get("reward_bad", 0.0))
    for name, value in should.items():
        if name != "accuracy" or abs(ahead) > absolute:
            assert found[name] == pytest.approx(value, rel=rel, abs=absolute), name


def both(far: torch.device, do: Callable[[torch.device], dict[str, float]], **within: float) -> None:
    """The same on the device as on the CPU."""
    same(on(far, lambda: do(far)), on(CPU, lambda: do(CPU)), **within)


# Words

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


def test_searching_and_probing_words_is_as_on_the_cpu(far: torch.device) -> None:
    def found(device: torch.device) -> dict[str, float]:
        p = tiny_policy().to(device)
        best, said = best_of_n(p, words, TASKS, 4, SHORT)
        measures = Probe(p, TASKS, {"r": words}, SHORT, n=2, reference=p.freeze("now"))(0)
        assert all(x.device == CPU for x in (best.logprobs, said.values))
        return {**measures, **{f"best {i}": float(v) for i, v in enumerate(said.values)}}

    both(far, found)


# Pictures

PROMPTS = ["a red cat", "a person with a hat"]
SDE, ODE = Denoising(steps=2, guidance=2.0, eta=1.0), Denoising(steps=2, guidance=2.0, eta=0.0)
SHOWN = [Comparison(prompt=p, chosen=picture(2 * i), rejected=picture(2 * i + 1)) for i, p in enumerate(PROMPTS)]
DRAWN = [Example(prompt=c.prompt, completion=c.chosen) for c in SHOWN]


class Colours(torch.nn.Module):
    """An encoder that owns a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(3, 4).requires_grad_(False)
        self.mix.weight.copy_(torch.arange(12.0).reshape(4, 3) / 6 - 1)
        self.mix.bias.fill_(0.1)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(images.mean((2, 3)))


def face() -> IdentityConsistency:
    return IdentityConsistency(CallableEncoder(Colours(), differentiable=True), torch.tensor([0.3, -0.2, 0.1, 0.5]))


def consistent(p: DiffusionPolicy) -> DiffusionPolicy:
    """The policy as a consistency model, whatever it was."""
    p.pipeline.scheduler = LCMScheduler.from_config(p.pipeline.scheduler.config)
    return p


PICTURES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "dpo": (lambda p: a.DPO(p, beta=100.0), SHOWN),
    "diffusion-dpo": (lambda p: a.DiffusionDPO(p, beta=100.0), SHOWN),
    "inpo": (lambda p: a.InPO(p, beta=100.0, levels=2), SHOWN),
    "kto": (lambda p: a.KTO(p, beta=100.0), [Label(prompt=e.prompt, completion=e.completion, label=bool(i)) for i, e in enumerate(DRAWN)]),
    "sft": (a.Supervised, DRAWN),
    "grpo": (lambda p: a.GRPO(p, brightness, group_size=2, kl=0.1, sampling=SDE), PROMPTS),
    "grpo in pieces": (lambda p: a.GRPO(p, face(), group_size=2, steps_at_once=1, normalise="budget", sampling=SDE), PROMPTS),
    "rloo": (lambda p: a.RLOO(p, brightness, group_size=2, sampling=SDE), PROMPTS),
    "raft": (lambda p: a.RAFT(p, brightness, group_size=2, sampling=SDE), PROMPTS),
    "ddpo": (lambda p: a.DDPO(p, brightness, sampling=Denoising(2, 2.0, 1.0, average=True)), PROMPTS),
    "rlcm": (lambda p: a.RLCM(consistent(p), brightness, sampling=Denoising(3, 1.0, average=True), group_size=2), PROMPTS),
    "flow-grpo": (lambda p: a.FlowGRPO(p, brightness, group_size=2, window=1, sampling={"steps": 2, "guidance": 2.0}), PROMPTS),
    "diffusion-nft": (lambda p: a.DiffusionNFT(p, brightness, group_size=2, levels=2, sampling=ODE), PROMPTS),
    "prdp": (lambda p: a.PRDP(p, brightness, group_size=2, sampling=SDE), PROMPTS),
    "d3po": (lambda p: a.D3PO(p, brightness, sampling=SDE), PROMPTS),
    "refl": (lambda p: a.ReFL(p, contrast, last=2, sampling=ODE), PROMPTS),
    "alignprop": (lambda p: a.AlignProp(p, contrast, sampling=ODE), PROMPTS),
    "draft": (lambda p: a.DRaFT(p, face(), k=2, sampling=ODE), PROMPTS),
    "lambda-harmonic-rpo": (a.RewardPreference, [a.SubjectPair(x, y, 0.8) for x, y in zip(DRAWN, DRAWN[::-1], strict=True)]),
    "id-aligner": (lambda p: a.IDAligner(p, face(), contrast, last=2, sampling=ODE, prompts=PROMPTS), DRAWN),
}  # fmt: skip
"""Methods on pictures, by their names in the catalogue."""


@cache
def pictures_on_the_cpu(method: str) -> dict[str, float]:
    make, data = PICTURES[method]
    return first_step(make(policy("sd", lora=2)), data)


@pytest.mark.parametrize("method", PICTURES)
def test_a_first_step_on_pictures_is_the_cpus(method: str, far: torch.device) -> None:
    make, data = PICTURES[method]
    should = on(CPU, lambda: pictures_on_the_cpu(method))
    found = first_step(make(policy("sd", lora=2).to(far)), data)
    norms = {k for k in should if k.startswith("grad_norm")}  # rounding over the small noise of last steps
    same(*({k: v for k, v in row.items() if k in norms} for row in (found, should)), rel=1e-2)
    same(*({k: v for k, v in row.items() if k not in norms} for row in (found, should)), rel=1e-3, absolute=2e-4)


@pytest.mark.parametrize("method", PICTURES)
def test_half_precision_on_pictures_learns_nearly_the_same(method: str) -> None:
    make, data = PICTURES[method]
    p = policy("sd").to(torch.bfloat16)
    p.add_lora(2)
    assert {w.dtype for w in p.parameters() if w.requires_grad} == {torch.float32}
    single, half = pictures_on_the_cpu(method), first_step(make(p), data)
    for name in {"reward", "error", "nll", "kl"} & single.keys():
        assert half[name] == pytest.approx(single[name], rel=0.05, abs=0.02), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["single", "half"])
@pytest.mark.parametrize("family", TINY)
def test_a_policy_moves_whole(family: str, dtype: torch.dtype, far: torch.device) -> None:
    """Denoiser, text encoders, autoencoder; what was made of prompts before is made anew. The path stays in single precision."""
    p = of_family(family, lora=2)
    before = p.sample(PROMPTS, 1, SDE, seed=3)
    p.to(far, dtype)
    parts = [m for m in p.pipeline.components.values() if isinstance(m, torch.nn.Module)]
    assert len(parts) >= 3
    kept = set(p.family.denoiser._keep_in_fp32_modules or ())
    for m in parts:
        for name, w in m.named_parameters():
            wide = m in p.denoisers.values() and kept & set(name.split("."))
            assert (w.device, w.dtype) == (far, torch.float32 if wide else dtype), name
    there = p.sample(PROMPTS, 1, SDE, seed=3)
    assert there.actions.latents.dtype == there.logprobs.dtype == p.logprobs(there).dtype == torch.float32
    if dtype == torch.float32:
        assert torch.allclose(there.logprobs, before.logprobs, rtol=1e-3)
        assert torch.allclose(torch.stack(there.completions), torch.stack(before.completions), atol=1e-4)
    assert torch.allclose(p.logprobs(there).cpu(), there.logprobs, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)
    p.to(CPU)
    assert p.sample(PROMPTS, 1, ODE).completions[0].device == CPU


def test_a_frozen_reference_goes_where_its_algorithm_goes(far: torch.device) -> None:
    algorithm = a.GRPO(policy("sd"), brightness, kl=0.1, group_size=2, sampling=SDE)
    twin = algorithm.reference.policy._policy  # type: ignore[union-attr]
    assert twin is not algorithm.policy
    algorithm.to(far)
    assert {w.device for w in twin.parameters()} == {far}
    assert not set(algorithm.state_dict()) - {f"policy.{k}" for k in algorithm.policy.state_dict()}


@pytest.mark.parametrize("lora", [2, None])
def test_text_encoders_that_are_asked_once_come_to_the_device_and_leave_it(
    lora: int | None, far: torch.device, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the reference too, a copy where the denoiser trains whole."""
    monkeypatch.setattr(EncodedOnce, "folder", tmp_path)
    seen: list[torch.device] = []

    def step(device: torch.device) -> dict[str, float]:
        made = EncodedOnce(policy("sd").pipeline, "sd")
        if lora:
            made.add_lora(lora)
        for encoder in made.text_encoders:
            encoder.register_forward_pre_hook(lambda module, _: seen.append(next(module.parameters()).device))
        algorithm = a.GRPO(made.to(device), contrast, kl=0.1, group_size=2, sampling=SDE)
        found = first_step(algorithm, PROMPTS)
        assert {w.device for w in [*made.parameters(), *made.pipeline.vae.parameters()]} == {device}
        assert {w.device for e in made.text_encoders for w in e.parameters()} == {CPU}
        return found

    both(far, step, rel=1e-3)
    assert seen.count(far) == len({*PROMPTS, ""}), "once for each, however often they were asked"


def test_an_image_adapter_and_its_encoder_move_along(far: torch.device) -> None:
    asked = [with_picture(t, picture(i)) for i, t in enumerate(PROMPTS)]

    def learns(device: torch.device, dtype: torch.dtype = torch.float32) -> dict[str, float]:
        p = policy("sd")
        p.add_image_adapter(lambda x: (Colours().to(x.device)(x), torch.ones(len(x), dtype=torch.bool)), 4, tokens=2)
        torch.nn.init.ones_(next(p.image_adapter.values.parameters()))  # type: ignore[union-attr]
        p.condition(asked)
        reward = IdentityConsistency(CallableEncoder(Colours(), differentiable=True))
        return first_step(a.DRaFT(p.to(device, dtype), reward, sampling=ODE), asked)

    both(far, learns, rel=1e-3)
    assert learns(far, torch.bfloat16)["reward"] == pytest.approx(learns(far)["reward"], abs=0.05)


def test_a_pipeline_loads_where_and_as_it_is_told(far: torch.device, tmp_path: Any) -> None:
    path = folder("sd", str(tmp_path))
    whole, adapters = DiffusionPolicy.load(path, device=str(far)), DiffusionPolicy.load(path, lora=2, device=str(far))
    # Adapters lie in single precision over weights in half; weights that train themselves are never halved.
    assert whole.dtype == torch.float32
    assert adapters.dtype == torch.bfloat16
    assert {w.dtype for w in adapters.parameters() if w.requires_grad} == {torch.float32}
    assert {w.device for p in (whole, adapters) for w in [*p.parameters(), *p.pipeline.vae.parameters()]} == {far}
    near = DiffusionPolicy.load(path, lora=2, device="cpu", dtype="bfloat16", seed=0)
    pairs = zip(near.denoiser.named_parameters(), adapters.denoiser.parameters(), strict=True)
    assert all(torch.equal(w, other.cpu()) for (n, w), other in pairs if "lora" in n)


SEARCHES: dict[str, Callable[[DiffusionPolicy], Any]] = {
    "reno": lambda p: noise_optimise(p, contrast, PROMPTS, sampling=Denoising(1, 1.0, 0.0), iterations=3).history,
    "best-of-n": lambda p: best_of_n(p, face(), PROMPTS, 3, SDE)[1].values,
}
"""Values of what searches of pictures find; one of the catalogue by its name there."""


def test_searching_and_probing_pictures_is_as_on_the_cpu(far: torch.device) -> None:
    def found(device: torch.device) -> dict[str, float]:
        p = policy("sd").to(device)
        values = [search(p) for search in SEARCHES.values()]
        measures = Probe(p, PROMPTS, {"r": face()}, SDE, n=2, reference=p.freeze("now"))(0)
        clean = p.pictures.latents([picture(0), picture(1)])
        there = invert(p, clean, PROMPTS, steps=3, eta=0.5, to=torch.tensor([1, 3])), renoise(p, clean, 4, 2)
        assert all(x.device == CPU for x in values)
        numbers = [*torch.cat([x.flatten() for x in values]), *(x.square().mean() for x in there)]
        return {**measures, **{str(i): float(v) for i, v in enumerate(numbers)}}

    both(far, found, rel=1e-3, absolute=1e-3)  # KL: a mean of squares of what nearly cancels


def test_rewards_of_portraits_follow_the_pictures(far: torch.device) -> None:
    """Their readers lie where the pictures do, compute in single precision, and see pictures of any size."""
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    made = {
        "wishes": proxies.PromptReader(), "structure": proxies.Structure(), "looks": proxies.Looks(),
        "identity": IdentityConsistency(proxies.PortraitFaces()),
    }  # fmt: skip
    prompts = [with_picture("a person, wearing a red hat", images[i].flip(-1)) for i in range(2)]

    def all_of(x: Tensor) -> dict[str, float]:
        shown = x.detach().requires_grad_()
        said = {n: score(r, prompts=prompts, completions=shown) for n, r in made.items()}
        (grad,) = torch.autograd.grad(sum(s.values.sum() for s in said.values()), shown)  # type: ignore[arg-type]
        assert all(s.values.device == x.device for s in said.values())
        numbers = {f"{n} {i}": float(v) for n, s in said.items() for i, v in enumerate(s.values.detach())}
        return {**numbers, "gradient": float(grad.float().norm())}

    should = all_of(images)
    same(all_of(images.to(far)), should, rel=1e-3, absolute=1e-4)
    same(all_of(images), should)  # and back again
    half = all_of(images.bfloat16())
    same(
        {k: v for k, v in half.items() if k != "gradient"},
        {k: v for k, v in should.items() if k != "gradient"},
        rel=0.1,
        absolute=0.1,
    )
    larger = torch.nn.functional.interpolate(images, scale_factor=2)
    assert score(made["looks"], prompts=prompts, completions=larger).values.shape == (2,)


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


def test_every_entry_of_the_catalogue_has_such_a_test() -> None:
    elsewhere = {*ON_WORDS, *FITTINGS, *HEADS, *CURATED, *SEARCHES}
    # Of policies that read words and pictures alike there is none yet.
    tried = {
        "text": {*TEXT, *elsewhere},
        "multimodal": {*TEXT, *elsewhere},
        "image": {*PICTURES, *elsewhere},
        "control": {*ACTS, *elsewhere},
    }
    missing = [f"{m.name} on {kind}" for m in methods() if m.entry for kind in m.modality if m.name not in tried[kind]]
    assert not missing, "add it to TEXT, PICTURES, ACTS, ON_WORDS, FITTINGS, HEADS, CURATED or SEARCHES above"
