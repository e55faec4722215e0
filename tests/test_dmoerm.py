"""DMoERM: experts on one base that begin as the base, a combination that trains alone, hard routing, verdicts without a liking for places."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.engine.store import fingerprint
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, Task
from accord.losses import pairwise
from accord.policies.experts import Experts
from accord.rewards import BradleyTerry, CapabilityMixture, DMoERM, Router, agreed, score
from conftest import tiny_reward as base

PROMPTS = ["what is 2 plus 3 ?", "what is 4 plus 4 ?", "what is 2 plus 3 ?"]
ANSWERS = ["the answer is 5 .", "the answer is 8 .", "the answer is 6 . thank you for asking ."]
PAIRS = [
    Comparison(prompt=f"what is {a} plus {b} ?", chosen=f"the answer is {a + b} .", rejected="you are so clever .")
    for a in range(3)
    for b in range(4)
]


def values(reward: Any) -> Tensor:
    return score(reward, prompts=PROMPTS, completions=ANSWERS).values


def test_every_expert_begins_as_the_base() -> None:
    plain = values(base())
    mixture = CapabilityMixture(base(), ["logic", "tone"], lora=2)
    for said in mixture.opinions(PROMPTS, ANSWERS).values():
        assert torch.allclose(said, plain, atol=1e-5)
    again = CapabilityMixture(base(), ["tone", "logic"], lora=2)
    a, b = ({n: p for n, p in m.base.model.named_parameters() if ".tone." in n} for m in (mixture, again))
    assert all(torch.equal(p, b[n]) for n, p in a.items()), (
        "an expert's first weights are its own, whoever is beside it"
    )


def test_one_expert_under_an_identity_is_the_base_itself() -> None:
    reward = base()
    plain, head = values(reward), reward.core.score.weight.detach().clone()
    mixture = CapabilityMixture(reward, ["all"], lora=2)
    first, prelu, last = mixture.combined.head  # type: ignore[misc]
    with torch.no_grad():
        first.weight.copy_(torch.eye(32))
        first.bias.zero_()
        prelu.weight.fill_(1.0)
        last.weight.copy_(head)
        last.bias.zero_()
    said = score(mixture, prompts=PROMPTS, completions=ANSWERS)
    assert torch.allclose(said.values, plain, atol=1e-5)
    assert torch.allclose(said.aspects["all"], plain, atol=1e-5)


def test_experts_learn_their_own_verdicts_and_leave_each_other_and_the_base_as_they_are() -> None:
    mixture = CapabilityMixture(base(), ["good", "bad"], lora=2)
    frozen = {n: p.clone() for n, p in mixture.base.model.named_parameters() if ".good." not in n and ".bad." not in n}
    before = mixture.opinions(PROMPTS, ANSWERS)
    mixture.taught({"good": PAIRS, "bad": [p.flipped() for p in PAIRS]}, lr=1e-2, epochs=4)
    asked = {"prompts": [p.prompt for p in PAIRS] * 2, "completions": [p.chosen for p in PAIRS] + [p.rejected for p in PAIRS]}  # fmt: skip
    said = mixture.opinions(**asked)
    leads = {n: float((v[: len(PAIRS)] - v[len(PAIRS) :]).mean()) for n, v in said.items()}
    assert leads["good"] > 0 > leads["bad"]
    assert all(torch.equal(p, frozen[n]) for n, p in mixture.base.model.named_parameters() if n in frozen)
    assert not any(p.requires_grad for p in mixture.base.parameters())
    assert not torch.allclose(mixture.opinions(PROMPTS, ANSWERS)["good"], before["good"])

    experts = fingerprint(mixture.base.model)
    mixture.fitted(PAIRS, epochs=2)
    assert fingerprint(mixture.base.model) == experts, "the combination trains alone"
    assert all(p.grad is None for p in mixture.base.parameters())
    assert torch.equal(values(mixture), values(mixture)), "changing adapters and back changes nothing"


def test_outside_of_its_experts_the_base_stays_the_first_phases_reward() -> None:
    first = values(base())
    mixture = CapabilityMixture(base(), ["good", "bad"], lora=2)
    assert torch.equal(values(mixture.base), first)
    mixture.taught({"good": PAIRS, "bad": [p.flipped() for p in PAIRS]}, lr=1e-2, epochs=4)
    assert not torch.allclose(score(mixture, prompts=PROMPTS, completions=ANSWERS).aspects["bad"], first)
    assert torch.equal(values(mixture.base), first)
    with mixture.experts.on("bad"):
        said = values(mixture.base)
    assert torch.allclose(said, mixture.opinions(PROMPTS, ANSWERS)["bad"], atol=1e-5)


def test_experts_have_no_order_and_a_constant_changes_no_loss() -> None:
    mixture = CapabilityMixture(base(), ["logic", "tone"], lora=2).taught(
        {"logic": PAIRS, "tone": PAIRS[::-1]}, lr=1e-2
    )
    other = CapabilityMixture(base(), ["tone", "logic"], lora=2)
    other.base.model.load_state_dict(mixture.base.model.state_dict())
    first, theirs = mixture.combined.head[0], other.combined.head[0]  # type: ignore[index]
    with torch.no_grad():
        other.combined.head.load_state_dict(mixture.combined.head.state_dict())
        theirs.weight.copy_(first.weight.roll(32, 1))
    assert torch.allclose(values(other), values(mixture), atol=1e-5)
    r = values(mixture)
    assert torch.allclose(pairwise((r[0] + 5) - (r[1] + 5)), pairwise(r[0] - r[1]), atol=1e-5)


def test_experts_are_saved_each_in_a_folder_that_peft_opens(tmp_path: Path) -> None:
    from peft import PeftModel

    mixture = CapabilityMixture(base(), ["logic", "tone"], lora=2).taught({"logic": PAIRS, "tone": PAIRS}, lr=1e-2)
    mixture.experts.save(tmp_path / "experts")
    plain = base()
    loaded = PeftModel.from_pretrained(plain.model, str(tmp_path / "experts" / "tone"))
    again = BradleyTerry(loaded, plain.tokeniser)
    assert torch.allclose(values(again), mixture.opinions(PROMPTS, ANSWERS)["tone"], atol=1e-5)


def test_names_and_missing_verdicts_are_refused() -> None:
    for names in ([], ["a", "a"], ["a.b"]):
        with pytest.raises(ConfigError, match="experts want names"):
            Experts(base(), names)
    with pytest.raises(ConfigError, match="has adapters already"):
        Experts(CapabilityMixture(base(), ["tone"], lora=2).base, ["b"])
    with pytest.raises(FeedbackError, match="no verdicts on tone"):
        CapabilityMixture(base(), ["logic", "tone"], lora=2).taught({"logic": PAIRS})


class Kinds:
    """Whether a prompt asks for a sum."""

    width, fingerprint = 2, "kinds"

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Tensor:
        assert set(completions) <= {""}, "a router sees no answers"
        return torch.tensor([[float("plus" in p), float("plus" not in p)] for p in prompts])


def test_a_router_learns_tasks_from_prompts_and_each_task_has_its_own_reward() -> None:
    asked = [Task(prompt=p, columns={"task": t}) for p, t in ((PROMPTS[0], "sums"), ("write a note", "notes")) * 8]
    router = Router(Kinds(), ["notes", "sums"]).fitted(asked, lr=0.1, epochs=20)
    assert router([*PROMPTS, "write to me"]) == ["sums"] * 3 + ["notes"]
    with pytest.raises(FeedbackError, match="record 1 has task='tales'"):
        router.fitted([Task(prompt="p", columns={"task": "tales"})])

    scale = {"notes": 1.0, "sums": 1.0}

    def of(name: str) -> Any:
        return lambda **x: [scale[name] * len(c) for c in x["completions"]]

    whole = DMoERM(router, {name: of(name) for name in scale})
    before = values(whole)
    scale["notes"] = 9.0
    assert torch.equal(values(whole), before), "who was not asked has no say"
    scale["sums"] = 2.0
    assert torch.equal(values(whole), 2 * before)


def test_verdicts_of_who_likes_a_place_drop_out_and_sure_ones_stay() -> None:
    first = [p.flipped() if i % 2 else p for i, p in enumerate(PAIRS)]  # whoever stands first wins
    second = [p.flipped() for p in first]
    assert agreed(first, second) == []
    assert agreed(PAIRS, PAIRS) == PAIRS
    with pytest.raises(FeedbackError, match="verdicts 1 are on different answers"):
        agreed(PAIRS, PAIRS[::-1])
