"""Inverse RL: what each form brings closer, what its reward learns, and who is compared with whom."""

from collections.abc import Sequence

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.algorithms import InverseRL
from accord.algorithms.rounds.irl_llm_survey import FORMS, Telling
from accord.algorithms.rounds.trainer import Round
from accord.engine import Rows
from accord.errors import ConfigError, FeedbackError
from accord.feedback import Comparison, Example
from accord.policies import LanguagePolicy, Sampling
from accord.policies.base import Group
from accord.rewards import score
from accord.rewards.fitting import RewardFitting
from accord.worlds import letters

SHORT = Sampling(max_new_tokens=8)
SHOWN = [Example(prompt=t.prompt, completion="thank you .") for t in letters.tasks(12, seed=1)]


def test_where_the_reward_is_exact_each_form_is_worth_its_divergence() -> None:
    """On five answers, with h = log(shown / pi)."""
    pi, shown = (torch.tensor(x, dtype=torch.float64) for x in ([0.2, 0.3, 0.1, 0.25, 0.15], [0.3, 0.1, 0.1, 0.3, 0.2]))
    h = (shown / pi).log()
    worth = {form: float((pi * of(h)).sum()) for form, of in FORMS.items()}
    assert worth["airl"] == worth["max-entropy"] == pytest.approx(float((pi * (shown / pi).log()).sum()))
    assert worth["fairl"] == pytest.approx(float((shown * (pi / shown).log()).sum())), "-KL(shown || pi)"
    assert worth["gail"] == pytest.approx(float(-(pi * (pi / (pi + shown)).log()).sum())), "-E log(1 - D)"
    for of in FORMS.values():
        alike = of(torch.zeros(5))
        assert torch.equal(alike, alike[:1].expand(5)), "nothing to gain where the policy answers as it was shown"
        assert torch.isfinite(of(torch.tensor([-1e4, 1e4]))).all()


class Table(nn.Module):
    """A reward that has a number for each text."""

    aspects: tuple[str, ...] = ()

    def __init__(self, **values: float) -> None:
        super().__init__()
        self.texts = list(values)
        self.values = nn.Parameter(torch.tensor(list(values.values())))

    def values_of(self, groups: Sequence[Group]) -> Float[Tensor, "n 1"]:
        return self.values[[self.texts.index(c) for g in groups for c in g.completions]][:, None]


def pairs(*texts: str) -> Rows:
    return Rows(Comparison(prompt="?", chosen=a, rejected=b) for a, b in texts)


def test_telling_has_nothing_to_learn_at_the_log_odds_of_what_was_shown() -> None:
    rows = pairs("aa", "ab", "ab", "bb")  # a is shown three times and answered once, b the other way round
    exact = Table(a=float(torch.tensor(3.0).log()), b=float(torch.tensor(1 / 3).log()))
    Telling(exact)(rows).sum.backward()
    assert exact.values.grad is not None
    assert exact.values.grad.abs().max() < 1e-6
    plain = Table(a=0.0, b=0.0)
    Telling(plain)(rows).sum.backward()
    assert plain.values.grad is not None
    assert plain.values.grad[0] < 0 < plain.values.grad[1]


def test_a_constant_moves_telling_and_not_the_maximum_entropy_form() -> None:
    rows = pairs("ab", "ab", "ba")
    low, high = Table(a=0.3, b=-0.2), Table(a=1.3, b=0.8)
    assert torch.allclose(RewardFitting(low)(rows).sum, RewardFitting(high)(rows).sum)
    assert not torch.allclose(Telling(low)(rows).sum, Telling(high)(rows).sum)


@pytest.mark.parametrize("form", ["max-entropy", "airl"])
def test_a_rounds_reward_finds_demonstrations_better_and_the_policy_is_held_to_where_it_began(form: str) -> None:
    policy = letters.policy()
    start = policy.freeze("now")
    method = InverseRL(policy, form=form, epochs=6, group_size=2, sampling=SHORT)  # type: ignore[arg-type]
    now = Round(0, 1, policy, (start,))
    algorithm, rows = method.build(now, SHOWN)
    assert list(rows) == SHOWN
    prompts = [e.prompt for e in SHOWN]
    own = start.sample(prompts, 1, SHORT, seed=99).completions
    shown, theirs = (score(algorithm.reward, prompts=prompts, completions=c).values for c in ([e.completion for e in SHOWN], own))  # type: ignore[attr-defined]  # fmt: skip
    assert float((shown - theirs).mean()) > 0
    drawn = start.sample(prompts[:2], 1, SHORT, seed=1)
    assert torch.allclose(algorithm.reference.logprobs(drawn), drawn.logprobs, atol=1e-4)  # type: ignore[attr-defined]
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), letters.policy().parameters(), strict=True)), "the reward has weights of its own"  # fmt: skip


def test_who_answers_as_was_shown_has_nothing_to_learn_and_unknown_forms_are_refused(base_policy: LanguagePolicy) -> None:  # fmt: skip
    method = InverseRL(base_policy)
    with pytest.raises(FeedbackError, match="nothing to tell apart"):
        method.learned(Round(0, 0, base_policy, ()), [])
    with pytest.raises(ConfigError, match="form='gan' is none of max-entropy, airl, gail, fairl"):
        InverseRL(base_policy, form="gan")  # type: ignore[arg-type]
