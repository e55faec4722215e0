"""DPA: what wins in which direction, how a direction is told, and from where each round starts."""

import shutil
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from accord.algorithms import DPA, Round, directed
from accord.algorithms.rounds.dpa import direction, read_direction, winner
from accord.engine import Training
from accord.errors import ConfigError
from accord.policies import Sampling
from accord.rewards import Scores
from accord.worlds import letters

SHORT = Sampling(max_new_tokens=24)
ASPECTS = ("helpful", "brief")


def pool(seed: int, n: int = 12) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def toward(degrees: float) -> torch.Tensor:
    return torch.tensor(direction(degrees), dtype=torch.float64)


@given(st.integers(0, 50), st.floats(-180, 180), st.floats(0.1, 9))
def test_whoever_wins_does_so_at_any_scale_and_however_both_are_turned(seed: int, angle: float, scale: float) -> None:
    r, v = pool(seed), toward(angle)
    best = winner(r, v)
    assert best == winner(r, scale * v)
    assert winner(r, -v) == int((r @ v).argmin())
    turn = torch.stack([toward(33), toward(123)], -1)
    assert best == winner(r @ turn.T, turn @ v)


def test_along_an_axis_it_is_plain_rejection_sampling_and_ties_teach_nothing() -> None:
    r = pool(1)
    assert winner(r, toward(0)) == int(r[:, 0].argmax())
    assert winner(r, toward(90)) == int(r[:, 1].argmax())
    assert winner(torch.ones(3, 2).double(), toward(10)) is None


@pytest.mark.parametrize("seed", range(3))
def test_over_all_directions_the_winners_are_the_corners_of_the_pools_hull(seed: int) -> None:
    r = pool(seed, 30)
    assert {winner(r, toward(a)) for a in torch.linspace(-180, 180, 4000).tolist()} == set(
        ConvexHull(r.numpy()).vertices.tolist()
    )


@given(st.floats(-90, 90))
def test_a_direction_is_told_in_hundredths_and_read_back(angle: float) -> None:
    v = direction(angle)
    for prompt in ("what ?", [{"role": "user", "content": "what ?"}], [{"role": "system", "content": "be kind"}]):
        told = directed(prompt, ASPECTS, v)  # type: ignore[arg-type]
        text = told if isinstance(told, str) else str(told[0]["content"])
        back = read_direction(text)
        assert list(back) == list(ASPECTS)
        assert sum(w * w for w in back.values()) == pytest.approx(1, abs=0.03)
        found = torch.rad2deg(torch.atan2(torch.tensor(back["brief"]), torch.tensor(back["helpful"])))
        assert abs(float(found) - angle) < 0.6


def two(*, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Scores:
    words = torch.tensor([float(len(c.split())) for c in completions])
    return Scores.of(
        words,
        aspects={"helpful": words + torch.tensor([0.1 * len(set(c.split())) for c in completions]), "brief": -words},
    )


def test_every_round_starts_from_the_first_policy_and_learns_from_all_winners_so_far(tmp_path) -> None:  # type: ignore[no-untyped-def]
    policy = letters.policy()
    first = [p.clone() for p in policy.parameters()]
    seen: list[tuple[int, bool]] = []

    class Watched(DPA):
        def build(self, now: Round, rows: Sequence[Any]) -> Any:
            found = super().build(now, rows)
            seen.append(
                (len(found[1]), all(torch.equal(a, b) for a, b in zip(policy.parameters(), first, strict=True)))
            )
            assert all("Maximise" in str(e.prompt) for e in found[1])
            return found

    tasks, training = letters.tasks(6, seed=3), Training(steps=2, batch_size=4, lr=1e-3, progress=False)

    def run(rounds: int, **options: Any) -> None:
        Watched(policy, two, ASPECTS, rounds=rounds, samples=4, directions=2, sampling=SHORT).fit(
            tasks, training, out=tmp_path, **options
        )

    run(3)
    sizes = [n for n, _ in seen]
    assert all(s for _, s in seen)
    assert 0 < sizes[0] < sizes[1] < sizes[2]
    assert max(sizes[0], sizes[1] - sizes[0], sizes[2] - sizes[1]) <= 2 * 2, (
        "a round's two prompts have a winner in two directions, once"
    )
    moved = [p.clone() for p in policy.parameters()]
    shutil.rmtree(tmp_path / "round-2")
    for p, f in zip(policy.parameters(), first, strict=True):
        p.data.copy_(f)
    run(3, resume=True)
    assert [n for n, _ in seen][3:] == sizes[2:], "what earlier rounds learned from is read back"
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), moved, strict=True))


def test_a_reward_without_the_aspects_is_refused() -> None:
    policy = letters.policy()
    method = DPA(policy, two, ("helpful", "kind"), rounds=1, samples=2, sampling=SHORT)
    with pytest.raises(ConfigError, match="goes by the aspects helpful and kind, but two tells helpful, brief"):
        method.fit(letters.tasks(2), Training(steps=1, batch_size=1, progress=False))


def test_of_a_reward_with_two_aspects_those_are_meant() -> None:
    policy, tasks = letters.policy(), letters.tasks(2)
    now = Round(0, 1, policy, (policy.freeze("now"),))
    named, unnamed = (
        DPA(policy, two, aspects, rounds=1, samples=4, sampling=SHORT).winners(now, tasks)
        for aspects in (ASPECTS, None)
    )
    assert named == unnamed
    assert named
