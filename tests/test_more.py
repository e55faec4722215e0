"""MORE: shares of sources by the shortest mean of their gradients, and what has to hold of those."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from accord.engine import Rows, Step, fit
from accord.errors import FeedbackError, ModelError
from accord.feedback import Comparison
from accord.losses.min_norm import min_norm
from accord.policies.base import Group
from accord.rewards import MORE, BradleyTerry, HeadReward
from accord.rewards.fitting import RewardFitting
from accord.rewards.more_diversified_preferences import evened, last_layer
from accord.worlds import letters


class Letters:
    """How often each of four letters comes."""

    width, fingerprint = 4, "letters"
    source: ClassVar[dict[str, Any]] = {}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Tensor:
        return torch.tensor([[float(c.count(x)) for x in "abcd"] for c in completions]).reshape(-1, 4)


ANSWERS = ["aab", "bcd", "ddd", "abcd", "cab", "bba"]
SAID = [Comparison(prompt=f"p{i}", chosen=ANSWERS[i % 6], rejected=ANSWERS[(2 * i + 1) % 6], annotator=f"from-{i % 3}")
        for i in range(30) if i % 6 != (2 * i + 1) % 6]  # fmt: skip
SOURCES = ["from-0", "from-1", "from-2"]


# Min-norm shares.


def norm(vectors: Tensor, shares: Tensor) -> float:
    return float((shares @ vectors).norm())


def test_of_two_the_shares_are_the_closed_form() -> None:
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        a, b = torch.randn(2, 5, generator=g) + torch.randn(5, generator=g)
        wanted = float(((b - a) @ b / (a - b).square().sum()).clamp(0, 1))
        assert float(min_norm(torch.stack([a, b]))[0]) == pytest.approx(wanted, abs=1e-5)


def test_of_more_they_are_what_a_general_solver_finds() -> None:
    g = torch.Generator().manual_seed(1)
    for k in (3, 5, 8):
        vectors = torch.randn(k, 6, generator=g, dtype=torch.float64) + 0.7 * torch.randn(
            6, generator=g, dtype=torch.float64
        )
        gram = (vectors @ vectors.T).numpy()
        found = minimize(lambda q, m: q @ m @ q, [1 / k] * k, args=(gram,), jac=lambda q, m: 2 * m @ q, bounds=[(0, 1)] * k, method="SLSQP",
                         constraints={"type": "eq", "fun": lambda q: sum(q) - 1}, options={"ftol": 1e-12, "maxiter": 500})  # fmt: skip
        shares = min_norm(vectors)
        assert float(shares.sum()) == pytest.approx(1)
        assert norm(vectors, shares) == pytest.approx(found.fun**0.5, abs=1e-4)
        along = vectors @ (shares @ vectors)
        assert bool((along >= norm(vectors, shares) ** 2 - 1e-6).all()), "a step down their mean harms none"


def test_shares_at_the_limits() -> None:
    one = torch.tensor([3.0, 4.0])
    assert norm(torch.stack([one, one, one]), min_norm(torch.stack([one, one, one]))) == pytest.approx(5)
    assert torch.allclose(min_norm(torch.stack([one, -one])), torch.tensor([0.5, 0.5]))
    across = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert torch.allclose(min_norm(across), torch.tensor([0.2, 0.8])), "as 1/a^2 to 1/b^2"
    assert float(min_norm(torch.stack([one, torch.zeros(2)]))[1]) == pytest.approx(1), (
        "who has arrived asks for no step"
    )
    assert torch.equal(min_norm(one[None]), torch.ones(1))


# The learner.


def weighed(learner: MORE) -> Rows:
    return learner.experience(Rows(SAID), Step(0, 0))


def test_gradients_of_the_last_layer_are_the_closed_form() -> None:
    reward = HeadReward(Letters(), hidden=0, seed=1)
    found = MORE(reward).gradients(SAID, SOURCES)
    z = [Letters()([], [getattr(p, side) for p in SAID]) for side in ("chosen", "rejected")]
    values = [
        reward(prompts=[""] * len(SAID), completions=[getattr(p, side) for p in SAID]).values
        for side in ("chosen", "rejected")
    ]
    pull = torch.sigmoid(values[1] - values[0])[:, None] * (z[0] - z[1])
    for source, g in zip(SOURCES, found, strict=True):
        mine = [p.annotator == source for p in SAID]
        assert torch.allclose(g[0], -pull[mine].mean(0), atol=1e-5)
    assert all(p.grad is None for p in reward.parameters()), "nothing of it flows into the model"


def test_equal_shares_are_plain_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MORE, "shares", lambda self, rows: (SOURCES, [1 / 3] * 3))
    ends = []
    for learner in (MORE, RewardFitting):
        reward = HeadReward(Letters(), hidden=4, seed=1)
        fit(learner(reward), SAID, steps=4, batch_size=10, lr=1e-2, progress=False)
        ends.append(reward.head.state_dict())
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])


def test_one_source_alone_is_plain_training_too() -> None:
    alone = [p for p in SAID if p.annotator == "from-0"]
    learner = MORE(HeadReward(Letters(), seed=1))
    assert [r.columns["share"] for r in learner.experience(Rows(alone), Step(0, 0))] == [1.0] * len(alone)


def test_the_size_of_a_sources_loss_does_not_matter_unless_it_is_asked_for() -> None:
    reward = HeadReward(Letters(), hidden=4, seed=1)

    class Louder(MORE):
        def gradients(self, rows: Sequence[Comparison], sources: Sequence[str]) -> list[Tensor]:
            first, *rest = super().gradients(rows, sources)
            return [5 * first, *rest]

    for normalise, same in (("l2", True), ("none", False)):
        quiet, loud = (cls(reward, normalise=normalise).shares(SAID)[1] for cls in (MORE, Louder))
        assert torch.allclose(torch.tensor(quiet), torch.tensor(loud), atol=1e-5) == same
    renamed = [p.model_copy(update={"annotator": f"x{2 - int(str(p.annotator)[-1])}"}) for p in SAID]
    assert MORE(reward).shares(renamed)[1] == pytest.approx(MORE(reward).shares(SAID)[1][::-1], abs=1e-6)


def test_a_weighed_step_harms_no_source() -> None:
    """Down the mean of gradients as they are, every source's loss falls, though two of them pull apart."""
    reward = HeadReward(Letters(), hidden=0, seed=1)
    learner = MORE(reward, normalise="none")
    names, shares = learner.shares(SAID)
    gradients = torch.stack(learner.gradients(SAID, names))[:, 0]
    step = (torch.tensor(shares)[:, None] * gradients).sum(0)
    assert bool((gradients @ step >= -1e-6).all())


def test_sources_are_made_as_large_as_the_largest_and_none_is_lost() -> None:
    few = [p for p in SAID if p.annotator != "from-1"] + [p for p in SAID if p.annotator == "from-1"][:3]
    made = evened(few, "annotator")
    sizes = {s: sum(p.annotator == s for p in made) for s in SOURCES}
    assert len(set(sizes.values())) == 1
    assert {p.prompt for p in few} == {p.prompt for p in made}
    assert all(sum(p.annotator == s and p is q for p in made for q in few[-3:]) for s in ["from-1"])


def test_models_with_a_packed_trunk_are_weighed_and_who_says_no_source_is_refused() -> None:
    pairs = [
        Comparison(
            prompt="what is 2 plus 3 ?", chosen="the answer is 5 .", rejected="the answer is 6 .", columns={"lab": x}
        )
        for x in "ab"
    ]
    reward = BradleyTerry.load(letters.WEIGHTS)
    torch.nn.init.normal_(reward.core.score.weight)
    learner = MORE(reward, by="lab")
    learner.check(pairs)
    assert learner.shares(pairs)[1] == pytest.approx([0.5, 0.5])
    with torch.no_grad():
        values = reward.values_of([Group(p.prompt, (p.chosen, p.rejected)) for p in pairs])
    assert float(learner(learner.experience(Rows(pairs), Step(0, 0))).sum.detach()) == pytest.approx(
        float(-torch.nn.functional.logsigmoid(values[0::2] - values[1::2]).sum()), abs=1e-4
    )
    with pytest.raises(FeedbackError, match="no maker"):
        MORE(reward, by="maker").check(pairs)
    reward.encodes = True
    assert last_layer(reward) is None
    with pytest.raises(ModelError, match="no last layer"):
        learner.check(pairs)
