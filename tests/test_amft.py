"""AMFT: what the balance does with its two signals, and that the look ahead says what helps."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.algorithms import AMFT, GRPO, Balance, Supervised
from accord.engine import Rows, Step, fit
from accord.errors import ConfigError
from accord.feedback import Example
from accord.policies import Sampling
from accord.worlds import letters

SHORT = Sampling(max_new_tokens=6)
TASKS = letters.tasks(4, seed=1)
DEMOS = [Example(prompt=t.prompt, completion="the answer is 5 .") for t in letters.tasks(6, seed=2)]


def wordy(*, prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(len(set(c.split()))) for c in completions]


def made(**options: Any) -> AMFT:
    return AMFT(letters.policy(), wordy, DEMOS, group_size=2, sampling=SHORT, **{"warmup": 0, **options})


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-1, 1)), max_size=30))
def test_the_share_stays_in_its_bounds_and_where_both_signals_are_silent_it_stays(
    moves: list[tuple[float, float]],
) -> None:
    balance = Balance(0.5, 0.1, 0.8, rate=0.3, pull=0.3)
    for entropy, along in moves:
        balance.update(entropy, along)
        assert 0.1 <= balance.mu <= 0.8
    still = Balance(0.5, target=2.0)
    still.update(2.0, 0.0)
    assert still.mu == 0.5


def test_lost_entropy_asks_for_imitation_and_the_loop_settles() -> None:
    """A toy in which exploration takes entropy away and imitation restores it."""
    entropy, balance = 2.0, Balance(0.2, pull=0.1, target=2.0)
    for _ in range(400):
        entropy += 0.1 * (balance.mu * (2.5 - entropy) - (1 - balance.mu) * 0.8 * entropy)
        balance.update(entropy)
    assert abs(entropy - 2.0) < 0.1
    away, wrong = 2.0, Balance(0.2, pull=-0.1, target=2.0)
    for _ in range(400):
        away += 0.1 * (wrong.mu * (2.5 - away) - (1 - wrong.mu) * 0.8 * away)
        wrong.update(away)
    assert wrong.mu in (wrong.low, wrong.high), "with the other sign it runs to a bound"


def test_all_of_one_share_is_that_method_and_the_loss_is_linear_between() -> None:
    algorithm = made(low=0.0, high=1.0, rate=0.0, pull=0.0)
    pieces = algorithm.experience(Rows(TASKS), Step(0, 0))
    totals = []
    for mu in (0.0, 0.25, 1.0):
        algorithm.balance.mu = mu
        loss = algorithm(pieces)
        totals.append(loss.sum.detach() / loss.weight)
    assert torch.allclose(totals[1], 0.75 * totals[0] + 0.25 * totals[2], atol=1e-5)
    rl, sft = (algorithm.algorithms[n](pieces.parts[n]) for n in ("rl", "sft"))
    assert torch.allclose(totals[0], (rl.sum / rl.weight).detach(), atol=1e-5)
    assert torch.allclose(totals[2], (sft.sum / sft.weight).detach(), atol=1e-5)
    assert isinstance(algorithm.algorithms["rl"], GRPO)
    assert isinstance(algorithm.algorithms["sft"], Supervised)
    assert len(pieces.parts["sft"]) == len(pieces.parts["rl"]), "as many demonstrations as answers"


def test_the_look_ahead_is_the_slope_of_what_is_wanted_along_more_imitation() -> None:
    """Against a finite difference: one step with a little more imitation, and how the tried answers' surrogate moves."""
    algorithm = made(steer=letters.tasks(6, seed=5), batch=6)
    step = Step(0, 3)
    pieces = super(AMFT, algorithm).experience(Rows(TASKS), step)
    cosine = algorithm.look_ahead(pieces, step)
    assert -1 <= cosine <= 1
    tried: list[Any] = []
    keep = algorithm.ahead[0].experience
    algorithm.ahead[0].experience = lambda rows, s: tried.append(keep(rows, s)) or tried[-1]  # type: ignore[method-assign, func-returns-value]
    assert algorithm.look_ahead(pieces, step) == pytest.approx(cosine), "and the same again"
    weights = [p for p in algorithm.policy.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in weights]
    grads = [list(algorithm._gradient(algorithm.algorithms[n](pieces.parts[n]))) for n in ("rl", "sft")]

    def worth(mu: float) -> float:
        with torch.no_grad():
            for p, s, a, b in zip(weights, start, *grads, strict=True):
                p.copy_(s - 1e-3 * ((1 - mu) * a + mu * b))
            loss = algorithm.ahead[0](tried[0])
            return -float(loss.sum / loss.weight)

    assert (worth(0.6) - worth(0.4)) * cosine > 0


def test_after_a_warm_up_of_imitation_entropy_is_measured_and_kept_over_a_resume(tmp_path) -> None:  # type: ignore[no-untyped-def]
    def run(steps: int, **options: Any) -> AMFT:
        algorithm = made(warmup=2, steer=TASKS, every=2, batch=2)
        fit(algorithm, TASKS, steps=4, batch_size=2, lr=1e-3, seed=1, progress=False, checkpoint_every=1, **options)
        return algorithm

    whole = run(4, out=tmp_path / "a")
    assert whole.balance.target is not None
    assert whole.balance.mu != 0.5
    again = made(warmup=2, steer=TASKS, every=2, batch=2)
    again.load_state(whole.state())
    assert (again.balance.mu, again.balance.target) == (whole.balance.mu, whole.balance.target)
    first = made(warmup=1).experience(Rows(TASKS), Step(0, 0))
    assert set(first.parts) == {"sft"}
    with pytest.raises(ConfigError, match="low <= mu <= high"):
        made(mu=0.99)
