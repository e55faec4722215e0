"""BARFI: its gradient in closed form and by finite differences, what it is without its outer half, and what becomes of right and wrong hints."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.algorithms import BARFI, RLOO
from accord.algorithms.rollout.barfi import Seen
from accord.engine import Rows, Step, fit
from accord.engine.implicit import neumann
from accord.errors import ConfigError
from accord.policies import ControlPolicy
from accord.rewards import by_step, own_reward
from accord.worlds import room
from tiny_envs import Arms

PAYS = (3.0, 1.0, 0.5, -0.5)
ENTROPY = 2.0


def hint(*worth: float) -> Any:
    """A designer's reward of each arm."""
    table = torch.tensor(worth)
    return by_step(lambda before, action, after: table[action])


def made(*worth: float, pays: tuple[float, ...] = PAYS, **options: Any) -> BARFI:
    """On a policy that is a table of one row."""
    return BARFI(
        ControlPolicy(lambda: Arms(pays), hidden=()),
        hint(*worth),
        **{"entropy": ENTROPY, "sampling": {"steps": 2}, **options},
    )


def all_arms(pays: tuple[float, ...], worth: tuple[float, ...]) -> Seen:
    """Each arm once: the expectation under a policy without preference."""
    n = len(pays)
    column = partial(torch.reshape, shape=(n, 1))
    return Seen(
        torch.ones(n, 1, 1),
        column(torch.arange(n)),
        torch.ones(n, 1).bool(),
        column(torch.tensor(pays)),
        column(torch.tensor(worth)),
    )


def steered(algorithm: BARFI, seen: Seen) -> dict[str, Tensor]:
    """The gradient of -J, by name."""
    slope = algorithm.steered(seen, seen, Step(0, 0))
    return dict(zip((n for n, _ in algorithm.aligned.named_parameters()), slope, strict=True))


def true_return(share: float, worth: Tensor) -> float:
    """J where the inner optimisation ends: ``softmax((r_p + share r_aux) / entropy)``."""
    pays = torch.tensor(PAYS, dtype=torch.float64)
    return float(torch.softmax((pays + share * worth.double()) / ENTROPY, 0) @ pays)


def test_the_gradient_is_that_of_finite_differences_through_the_whole_inner_optimisation() -> None:
    """Of the hint's share, where it takes back all that is paid, so that the policy without preference is the inner optimum."""
    worth = -torch.tensor(PAYS)
    algorithm = made(*worth.tolist())
    algorithm.solve = partial(neumann, terms=40, rate=1.0)
    share = steered(algorithm, all_arms(PAYS, tuple(worth.tolist())))["heads.last.bias"][1]
    rise = (true_return(1 + 1e-4, worth) - true_return(1 - 1e-4, worth)) / 2e-4
    of_others = (4 / 3) ** 2  # each arm is compared with the three others, at both levels
    assert float(share) == pytest.approx(-of_others * rise, rel=1e-3)
    assert rise == pytest.approx(-float(torch.tensor(PAYS).var(correction=0)) / ENTROPY, rel=1e-4)


@pytest.mark.parametrize(("worth", "sign"), [((2.0, 0.5, 0.1, 0.0), 1), ((0.0, 0.2, 0.5, 2.0), -1), ((0.0, 0.0, 0.0, 0.0), 0), ((1.0, 1.0, 1.0, 1.0), 0)])  # fmt: skip
def test_a_hint_that_goes_with_what_is_wanted_gains_one_that_goes_against_it_loses_and_nothing_gets_nothing(
    worth: tuple[float, ...], sign: int
) -> None:
    share = float(steered(made(*worth), all_arms(PAYS, worth))["heads.last.bias"][1])
    assert -share * sign > 0 if sign else share == pytest.approx(0, abs=1e-9)


def test_one_term_is_a_step_along_what_both_levels_want() -> None:
    worth = (2.0, 0.5, 0.1, 0.0)
    algorithm, seen = made(*worth, terms=1, rate=0.3), all_arms(PAYS, worth)
    slope = steered(algorithm, seen)
    theta = list(algorithm.policy.parameters())
    inner = torch.autograd.grad(algorithm.surrogate(seen, algorithm.worth(seen)) / 4, theta, create_graph=True)
    logprobs, _ = algorithm.scored(seen)
    paid = seen.primary - (seen.primary.sum() - seen.primary) / 3
    outer = torch.autograd.grad(-(paid * logprobs).sum() / 4, theta)
    one = torch.autograd.grad(
        sum((a * b).sum() for a, b in zip(inner, outer, strict=True)), algorithm.aligned.heads.last.bias
    )[0]
    torch.testing.assert_close(slope["heads.last.bias"], -0.3 * one)


def test_in_its_warm_up_without_a_hint_it_is_reinforce_as_the_core_has_it() -> None:
    """Leave-one-out, on episodes of one step, where a return is a return to go."""
    first, second = (ControlPolicy(lambda: Arms(PAYS), hidden=()) for _ in "ab")
    ours = BARFI(first, hint(0, 0, 0, 0), warmup=99, group_size=12, buffer=12, entropy=0.0, sampling={"steps": 2})
    theirs = RLOO(second, own_reward, kl=0.0, group_size=12, sampling={"steps": 2})
    for algorithm in (ours, theirs):
        loss = algorithm(algorithm.experience(Rows(["a"]), Step(0, 7)))
        (loss.sum / loss.weight).backward()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad, b.grad)
        assert a.grad.abs().max() > 0
    assert all(p.grad is None for p in ours.aligned.parameters())


def test_rewards_and_entropy_that_are_scaled_together_change_no_direction() -> None:
    def slopes(c: float) -> list[Tensor]:
        algorithm = BARFI(room.policy(seed=1), room.toward, warmup=99, entropy=0.3 * c)
        seen = algorithm.acted(Rows(["a"] * 6), Step(0, 0), "rollout")
        paid = Seen(seen.observations, seen.actions, seen.mask, c * seen.primary, c * seen.auxiliary)
        algorithm(replace(paid, worth=algorithm.worth(paid).detach())).sum.backward()
        return [p.grad / c for p in algorithm.policy.parameters() if p.grad is not None]

    for a, b in zip(slopes(1.0), slopes(8.0), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("worth", "kept"), [((60.0, 0.0, 0.0, 0.0), True), ((0.0, 150.0, 0.0, 0.0), False)], ids=["right", "wrong"]
)
def test_a_right_hint_is_kept_and_a_wrong_one_is_weighed_down_until_the_policy_does_what_is_wanted(
    worth: tuple[float, ...], kept: bool
) -> None:
    pays = (100.0, 0.0, 0.0, 0.0)
    options: dict[str, Any] = {"pays": pays, "entropy": 20.0, "every": 2, "buffer": 32}
    training: dict[str, Any] = {"steps": 80, "batch_size": 32, "lr": 0.03, "lr_of": {"reward": 0.01}, "progress": False}
    ours, plain = made(*worth, warmup=2, **options), made(*worth, warmup=80, **options)
    for algorithm in (ours, plain):
        fit(algorithm, ["a"], **training)
    share = float(ours.aligned.heads(torch.ones(1))[1].detach())
    best, followed = (a.policy.distribution(torch.ones(1)).probs[0].item() for a in (ours, plain))
    assert (share >= 1) == kept
    assert best > 0.6
    assert (followed > 0.6) == kept, "who follows a wrong hint pulls the wrong arm"


def test_a_step_is_the_same_however_it_is_cut_into_pieces() -> None:
    def after(micro: int | None) -> list[Tensor]:
        algorithm = BARFI(room.policy(), room.toward, warmup=0, sampling={"steps": 8})
        fit(algorithm, room.starts(6), steps=2, batch_size=6, micro_batch_size=micro, lr=1e-3, progress=False)
        return list(algorithm.parameters())

    for a, b in zip(after(None), after(2), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_the_learned_discount_has_its_price_and_nothing_else_moves_where_nothing_is_paid() -> None:
    def after(haste: float) -> tuple[float, Tensor]:
        algorithm = made(0, 0, 0, 0, pays=(0.0,) * 4, warmup=0, haste=haste)
        fit(algorithm, ["a"], steps=1, batch_size=4, lr=0.1, progress=False)
        return algorithm.aligned.discount.item(), algorithm.aligned.heads.last.weight

    (cheap, heads), (dear, others) = after(0.0), after(1.0)
    assert dear < cheap == pytest.approx(0.99)
    assert not heads.any()
    assert torch.equal(heads, others)


def test_a_run_that_goes_on_is_the_run_that_was_never_stopped(tmp_path: Path) -> None:
    def run(steps: int, out: Path) -> tuple[BARFI, Any]:
        algorithm = BARFI(room.policy(), room.camp, every=2, warmup=2, buffer=8, sampling={"steps": 6})
        return algorithm, fit(
            algorithm, room.starts(4), steps=steps, batch_size=4, lr=0.01, out=out, resume=True, progress=False
        )

    whole, metrics = run(5, tmp_path / "whole")
    run(3, tmp_path / "parts")
    parts, rest = run(5, tmp_path / "parts")
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [r["loss"] for r in metrics.metrics] == [r["loss"] for r in rest.metrics]


def test_what_it_cannot_use_is_refused_in_one_line() -> None:
    policy = room.policy()
    with pytest.raises(ConfigError, match=r"rewards\.by_step"):
        fit(
            BARFI(policy, lambda **samples: [0.0] * len(samples["prompts"])),
            ["a"],
            steps=1,
            batch_size=2,
            progress=False,
        )
    for wrong in ({"gamma": 1.0}, {"every": 0}, {"rate": 0.0}, {"sampling": {"greedy": True}}):
        with pytest.raises(ConfigError):
            BARFI(policy, room.toward, **wrong)
    with pytest.raises(ConfigError, match="buffer must hold the 128 episodes"):
        fit(BARFI(policy, room.toward, group_size=8), ["a"] * 16, steps=1, batch_size=16, progress=False)
    with pytest.raises(ConfigError, match="one process"):
        BARFI(policy, room.toward).experience(Rows(["a"]), Step(0, 0, 0, 2))
