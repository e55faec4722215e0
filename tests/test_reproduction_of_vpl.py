"""The control of VPL's reproduction is no cheaper a learner than VPL, and both choose among as many settings."""

from collections import Counter
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from accord.feedback import Comparison, InContext
from accord.policies.base import Group
from accord.reproduce.systems import variational_preference_learning as system
from accord.rewards import VPL, HeadReward
from accord.rewards.variational_preference_learning import VariationalFitting


class Rows:
    """Features as wide as those of the letters' policy."""

    width, fingerprint = 128, "rows"

    def __call__(self, prompts: Any, completions: Any) -> torch.Tensor:
        return torch.randn(len(completions), self.width)


def flops(loss: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        loss().backward()
    return int(counter.get_total_flops())


def test_the_control_computes_no_less_for_a_batch_than_vpl() -> None:
    pair = Comparison(prompt="p", chosen="a", rejected="b")
    model = VPL(Rows(), latent=system.LATENT, kl=system.KL)
    told = [(InContext(pair, (pair,) * system.CONTEXT, "who"), torch.zeros(system.LATENT))] * 32
    control = HeadReward(Rows(), hidden=system.WIDE)
    theirs = flops(lambda: VariationalFitting(model).forward(told).sum)  # type: ignore[arg-type]
    ours = flops(lambda: control.values_of([Group(pair.prompt, (pair.chosen, pair.rejected))] * 32).sum())
    assert 0.95 * theirs <= ours <= 1.1 * theirs


def test_treatment_and_control_are_tuned_over_equally_many_rates() -> None:
    tried = Counter(name.rsplit(" ", 1)[0] for name in system.TUNING)
    assert tried == {"bradley-terry": len(system.RATES), "vpl": len(system.RATES)}
    assert {*system.LR.values()} <= {*system.RATES}
