"""Preference losses with options a row, references by one rule, and what methods refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord import losses
from accord.algorithms import DPO, GRPO, IPO, KTO, ORPO, PPO, RPO, Preference, Reference, SimPO
from accord.engine import Rows, Step, check_rows, fit
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, Label
from accord.losses import LogProbs
from accord.policies import Sampling
from accord.policies.base import Group
from conftest import tiny_policy
from tiny_pipelines import policy as pictures

WORDS = ("the answer is 5 .", "it is 4 .", "i admire you .", "thank you for asking .")
PAIRS = [
    Comparison(prompt=f"what is {i} plus 3 ?", chosen=WORDS[i % 4], rejected=WORDS[(i + 1) % 4], strength=0.5 * i,
               columns={"tie": 0.1 * (i + 1), "sure": 1.0 - 0.2 * i, "share": 0.5 + i})
    for i in range(4)
]  # fmt: skip
PAIRWISE: list[Callable[..., Tensor]] = [losses.dpo, losses.ipo, losses.simpo, losses.orpo, losses.rpo]


def logprobs(seed: int, n: int = 5) -> LogProbs:
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(1, 9, (n,), generator=g).float()
    policy, reference = (-length * (0.1 + torch.rand(n, generator=g)) for _ in "12")
    return LogProbs(policy, length, reference)


@pytest.mark.parametrize("loss", PAIRWISE)
def test_options_of_a_row_are_the_loss_of_that_row_alone_with_them(loss: Callable[..., Tensor]) -> None:
    c, r = logprobs(1), logprobs(2)
    own = {
        k: torch.rand(5, generator=torch.Generator().manual_seed(i)) + 0.01
        for i, k in enumerate(("beta", "margin", "weight"))
    }
    own["target"] = torch.tensor([1.0, 0.0, 0.5, 0.3, 0.9])
    alone = [loss(c[i : i + 1], r[i : i + 1], **{k: float(v[i]) for k, v in own.items()}) for i in range(5)]
    assert torch.allclose(loss(c, r, **own), torch.cat(alone))
    assert torch.allclose(loss(c, r, weight=own["weight"]), own["weight"] * loss(c, r))
    assert torch.equal(loss(c, r, target=1.0, margin=0.0, weight=1.0), loss(c, r))


@pytest.mark.parametrize("loss", [losses.dpo, losses.ipo, lambda c, r, **o: losses.simpo(c, r, gamma=0.0, **o)])
def test_a_target_mixes_the_pair_and_its_reverse(loss: Callable[..., Tensor]) -> None:
    c, r = logprobs(3), logprobs(4)
    assert torch.allclose(loss(c, r, target=0.0), loss(r, c))
    assert torch.allclose(loss(c, r, target=0.7), 0.7 * loss(c, r) + 0.3 * loss(r, c), atol=1e-6)
    smooth = losses.dpo(c, r, label_smoothing=0.2, target=0.6)
    assert torch.allclose(smooth, losses.dpo(c, r, target=0.6 * 0.8 + 0.4 * 0.2)), "a wrong label of an unsure verdict"


def test_kto_weighs_each_sample() -> None:
    x, good, z = logprobs(5), torch.tensor([True, False, True, True, False]), torch.tensor(0.1)
    w = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0])
    assert torch.allclose(losses.kto(x, good, z, weight=w), w * losses.kto(x, good, z))


def test_columns_of_the_records_are_options_of_their_rows() -> None:
    algorithm = DPO(
        moved(), beta="tie", margin="strength", target="sure", weight="share", reference=tiny_policy().freeze("now")
    )
    check_rows(algorithm, PAIRS)
    given = algorithm.experience(Rows(PAIRS), Step(0, 0))
    c, r = algorithm.pair(given)
    d = c.ratio - r.ratio
    assert d.abs().min() > 0.1, "or nothing is told apart"
    each = []
    for i, p in enumerate(PAIRS):
        z, p_sure = p.columns["tie"] * d[i] - p.strength, p.columns["sure"]
        each.append(-p.columns["share"] * (p_sure * logsigmoid(z) + (1 - p_sure) * logsigmoid(-z)))
    assert torch.allclose(algorithm(given).sum, torch.stack(each).sum(), atol=1e-5)
    pieces = [algorithm(given.select(rows)).sum for rows in ([3, 1], [0], [2])]
    assert torch.allclose(torch.stack(pieces).sum(), torch.stack(each).sum(), atol=1e-5), "and stay so in any minibatch"
    assert algorithm.settings()["options"]["margin"] == "strength"


def test_columns_are_options_of_labels_too() -> None:
    rows = [Label(prompt="a", completion=w, label=i < 2, columns={"share": float(i)}) for i, w in enumerate(WORDS)]
    algorithm, plain = (KTO(moved(), reference=tiny_policy().freeze("now"), **o) for o in ({"weight": "share"}, {}))
    given = algorithm.experience(Rows(rows), Step(0, 0))
    own, other = algorithm.likelihood(given)[0::2], algorithm.likelihood(given)[1::2]
    each = losses.kto(own, torch.tensor([True, True, False, False]), other.ratio.mean())
    assert torch.allclose(algorithm(given).sum, (torch.arange(4) * each).sum(), atol=1e-6)
    assert torch.allclose(plain(plain.experience(Rows(rows), Step(0, 0))).sum, each.sum(), atol=1e-6)


def test_a_record_without_its_own_option_or_out_of_range_is_named_before_training() -> None:
    lacking = PAIRS[1].model_copy(update={"columns": {}})
    odd = PAIRS[1].model_copy(update={"columns": {"tie": -1.0}})
    with pytest.raises(FeedbackError, match="record 2 has no 'tie', but DPO takes its beta from there"):
        fit(DPO(tiny_policy(), beta="tie"), [PAIRS[0], lacking], steps=1, progress=False)
    with pytest.raises(FeedbackError, match="record 2: beta must be above 0, but is -1"):
        fit(DPO(tiny_policy(), beta="tie"), [PAIRS[0], odd], steps=1, progress=False)
    with pytest.raises(FeedbackError, match="record 1 has no 'strength'"):
        check_rows(IPO(tiny_policy(), margin="strength"), [Comparison(prompt="a", chosen="b", rejected="c")])


@pytest.mark.parametrize(
    ("method", "option"),
    [(DPO, {"beta": 0.0}), (DPO, {"target": 1.5}), (IPO, {"weight": -1.0}), (RPO, {"eta": -0.1}), (DPO, {"label_smoothing": 0.5}),
     (ORPO, {"beta": -1.0}), (SimPO, {"beta": 0.0}), (KTO, {"weight": -2.0})],
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(method: Any, option: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(option))):
        method(tiny_policy(), **option)


# References.


def moved() -> Any:
    policy = tiny_policy()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.3 * p.std().nan_to_num() * torch.randn(p.shape, generator=g))
    return policy


def by_step(c: LogProbs, r: LogProbs, beta: float = 0.1) -> Tensor:
    return -logsigmoid(beta * (c.ratio_per_step.sum(-1) - r.ratio_per_step.sum(-1)))


@pytest.mark.parametrize("kept", [False, True])
def test_a_loss_by_step_sees_the_references_steps(kept: bool, tmp_path: Path) -> None:
    store = tmp_path if kept else None
    reference = tiny_policy().freeze("now")
    algorithm = Preference(moved(), by_step, by_step=True, reference=reference, store=store)
    whole = DPO(algorithm.policy, reference=reference, store=store)
    one, other = (a(a.experience(Rows(PAIRS), Step(0, 0))) for a in (algorithm, whole))
    assert torch.allclose(one.sum, other.sum, atol=1e-5), "steps add up to the whole"
    given = algorithm.experience(Rows(PAIRS), Step(0, 0))
    found = algorithm.likelihood(given)
    truth = reference.likelihood(given.groups)
    assert found.reference_per_step is not None
    assert torch.allclose(found.reference_per_step, truth.per_step, atol=1e-5)
    assert torch.allclose(
        algorithm(given.select([2, 0])).sum, sum(whole(given.select([i])).sum for i in (2, 0)), atol=1e-5
    )
    again = Preference(moved(), by_step, by_step=True, reference=reference, store=store)
    again.load_state(algorithm.state())
    again.reference.policy.likelihood = None  # type: ignore[union-attr]
    assert torch.equal(again.experience(Rows(PAIRS), Step(0, 0)).by_step, given.by_step), (
        "what is known isn't computed anew"
    )


def test_steps_are_asked_for_only_where_a_likelihood_has_them() -> None:
    rows = [Comparison(prompt="a red cat", chosen=torch.rand(3, 16, 16), rejected=torch.rand(3, 16, 16))]
    with pytest.raises(ConfigError, match="no steps"):
        fit(Preference(pictures(lora=2), by_step, by_step=True), rows, steps=1, batch_size=1, progress=False)


def test_a_reference_is_made_where_a_methods_settings_want_one_and_only_there() -> None:
    def length(*, completions: Any, **columns: Any) -> list[float]:
        return [float(len(c)) for c in completions]

    short = Sampling(max_new_tokens=4)
    for kl in (0.0, 0.1):
        policy = tiny_policy()
        copies: list[str] = []
        inner = policy.freeze
        policy.freeze = lambda which="base", inner=inner, copies=copies: copies.append(which) or inner(which)  # type: ignore[method-assign]
        run = fit(
            GRPO(policy, length, kl=kl, group_size=2, sampling=short), ["a", "b"], steps=1, batch_size=2, progress=False
        )
        assert (bool(copies), "kl" in run.metrics[0]) == (kl > 0, kl > 0)
    assert SimPO(tiny_policy()).reference is None
    assert Preference(tiny_policy(), losses.simpo, reference=None).reference is None
    assert DPO(tiny_policy()).reference is not None
    with pytest.raises(ConfigError, match="DPO compares with a reference"):
        DPO(tiny_policy(), reference=None)


def test_a_reference_is_what_it_was_named_by(tmp_path: Path) -> None:
    groups = [Group(p.prompt, (p.chosen, p.rejected)) for p in PAIRS]
    policy = moved()
    other = tiny_policy(seed=5)
    other.save(tmp_path / "other")

    def known(which: Any) -> Tensor:
        return Reference(policy, which)(groups, None, Step(0, 0)).policy

    assert torch.allclose(known("now"), policy.likelihood(groups).policy, atol=1e-5)
    assert torch.allclose(known(tmp_path / "other"), other.likelihood(groups).policy, atol=1e-5)
    assert torch.equal(known(str(tmp_path / "other")), known(other.freeze("now")))
    assert DPO(policy, reference="now").settings()["reference"]["which"] == "now"


def test_a_store_of_what_differs_from_draw_to_draw_is_refused(tmp_path: Path) -> None:
    rows = [Comparison(prompt="a red cat", chosen=torch.rand(3, 16, 16), rejected=torch.rand(3, 16, 16))]
    with pytest.raises(ConfigError, match="leave it out"):
        fit(DPO(pictures(lora=2), store=tmp_path), rows, steps=1, batch_size=1, progress=False)


# What a method needs of a policy, and of whom it asks for it.


def test_a_policy_that_lacks_what_a_method_needs_is_refused_in_one_line() -> None:
    def flat(*, completions: Any, **columns: Any) -> list[float]:
        return [0.0] * len(completions)

    with pytest.raises(ConfigError, match=r"PPO wants a policy that .*hidden states.*: a DiffusionPolicy does not"):
        PPO(pictures(), flat)
    with pytest.raises(ConfigError, match=r"DPO wants a policy that .*: a str does not"):
        DPO("gpt2")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "wrong", "told"),
    [(GRPO, "num_generations", "group_size"), (GRPO, "epsilon", "clip"), (DPO, "ref_model", "reference"), (DPO, "betta", "did you mean beta"),
     (SimPO, "reference", "it has policy, beta, gamma")],
)  # fmt: skip
def test_an_option_that_is_none_is_answered_with_the_name_that_is(method: Any, wrong: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"{method.__name__} has no option '{wrong}'.*{told}"):
        method(tiny_policy(), **{wrong: 1})


def test_a_loss_of_the_package_may_be_named() -> None:
    def first(algorithm: Preference) -> float:
        return float(algorithm(algorithm.experience(Rows(PAIRS), Step(0, 0))).sum.detach())

    assert first(Preference(tiny_policy(), "ipo", {"beta": 0.3})) == first(IPO(tiny_policy(), beta=0.3))
    with pytest.raises(ConfigError, match=r"none of accord\.losses"):
        Preference(tiny_policy(), "dpoo")
