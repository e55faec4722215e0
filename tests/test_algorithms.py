"""Credit by its closed forms, methods by their limits and equalities, and parity with TRL on the same inputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord import losses
from accord.algorithms import (
    DPO,
    GRPO,
    IPO,
    KTO,
    ORPO,
    PPO,
    RAFT,
    RLOO,
    RPO,
    BestOfGroup,
    GroupRelative,
    LeaveOneOut,
    Preference,
    Rollout,
    Round,
    SimPO,
    Supervised,
    TokenGAE,
    rounds,
)
from accord.algorithms.rollout.credit import group_mean, group_std, leave_one_out
from accord.algorithms.rollout.raft import best_of_batch, best_per_prompt
from accord.engine import Rows, Step, Training, fit
from accord.errors import ConfigError, FeedbackError
from accord.evaluation import Probe
from accord.feedback import Comparison, Example, Label
from accord.policies import LanguagePolicy, Rollouts, Sampling
from accord.policies.language import TokenActions
from accord.rewards import Scores
from accord.worlds import letters
from conftest import tiny_policy

SHORT = Sampling(max_new_tokens=20)
TASKS = letters.tasks(4, seed=1)


def shorter(*, prompts, completions, **columns):  # type: ignore[no-untyped-def]
    return [-float(len(c.split())) for c in completions]


def fake(group: list[int], lengths: list[int], seed: int = 0) -> Rollouts:
    g = torch.Generator().manual_seed(seed)
    n, t = len(group), max(lengths)
    mask = torch.arange(t)[None] < torch.tensor(lengths)[:, None]
    logp = (-torch.rand(n, t, generator=g)).masked_fill(~mask, 0)
    return Rollouts([f"p{i}" for i in range(max(group) + 1)], torch.tensor(group), ["c"] * n, mask, logp, torch.ones(n, dtype=torch.bool),
                    TokenActions([[1]] * n, [[3] * k for k in lengths]), SHORT,
                    reference=(logp - 0.3 * torch.rand(n, t, generator=g)).masked_fill(~mask, 0))  # fmt: skip


groups = st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5), st.booleans()), min_size=1, max_size=12)


@given(groups)
def test_group_statistics_equal_numpy(rows: list[tuple[int, float, bool]]) -> None:
    g, x, valid = (
        torch.tensor([r[0] for r in rows]),
        torch.tensor([r[1] for r in rows]),
        torch.tensor([r[2] for r in rows]),
    )
    mean, std, others = group_mean(x, g, valid), group_std(x, g, valid), leave_one_out(x, g, valid)
    for i in range(len(rows)):
        members = x[(g == g[i]) & valid].numpy()
        if not bool(valid[i]):
            continue
        assert float(mean[i]) == pytest.approx(members.mean(), abs=1e-4)
        assert float(std[i]) == pytest.approx(members.std(ddof=1) if len(members) > 1 else 0, abs=1e-3)
        rest = (members.sum() - float(x[i])) / (len(members) - 1) if len(members) > 1 else float(x[i])
        assert float(others[i]) == pytest.approx(rest, abs=1e-3)


@given(groups, st.floats(-9, 9))
@settings(max_examples=50)
def test_group_advantages_ignore_a_prompts_offset_and_sum_to_zero(
    rows: list[tuple[int, float, bool]], offset: float
) -> None:
    rollouts = fake([r[0] for r in rows], [3] * len(rows))
    values, valid = torch.tensor([r[1] for r in rows]), torch.tensor([r[2] for r in rows])
    for credit in (GroupRelative(scale=False), LeaveOneOut(kl=0)):
        plain = credit(Scores(values, valid), rollouts)[0].advantage[:, 0]
        moved = credit(Scores(values + offset * (rollouts.group == 0), valid), rollouts)[0].advantage[:, 0]
        assert torch.allclose(plain, moved, atol=1e-4)
        for g in rollouts.group.unique():
            assert abs(float(plain[rollouts.group == g].sum())) < 1e-3
        assert not plain[~valid].any()


def test_normalisations_of_grpo() -> None:
    """sequence: each answer counts once; tokens: each token; budget: no dependence on length at all."""
    rollouts = fake([0, 0, 1], [2, 6, 4])
    scores = Scores.of(torch.tensor([1.0, 0.0, 0.0]))
    weights = {n: GroupRelative(normalise=n)(scores, rollouts)[0].weight for n in ("sequence", "tokens", "budget")}  # type: ignore[arg-type]
    assert torch.allclose(weights["sequence"].sum(-1), torch.ones(3))
    assert weights["tokens"][rollouts.mask].unique().tolist() == pytest.approx([3 / 12])
    assert weights["budget"][rollouts.mask].unique().tolist() == pytest.approx([1 / 20])


def test_ppo_credit_is_gae_on_token_rewards() -> None:
    rollouts = replace(fake([0, 1], [3, 2]), values=torch.tensor([[0.1, 0.2, 0.3], [0.0, 0.5, 0.0]]))
    scores = Scores.of(torch.tensor([2.0, -1.0]))
    policy_term, value_term = TokenGAE(kl=0.5, whiten=False)(scores, rollouts)
    rewards = -0.5 * (rollouts.logprobs - rollouts.reference)  # type: ignore[operator]
    rewards[0, 2] += 2
    rewards[1, 1] -= 1
    wanted, returns = losses.gae(rewards, rollouts.values, rollouts.mask, 1.0, 0.95)  # type: ignore[arg-type]
    assert torch.allclose(policy_term.advantage, wanted)
    assert torch.allclose(value_term.advantage, returns)
    white = TokenGAE(kl=0.5)(scores, rollouts)[0].advantage[rollouts.mask]
    assert float(white.mean()) == pytest.approx(0, abs=1e-5)
    assert float(white.var(correction=0)) == pytest.approx(1, abs=1e-3)


# RAFT, card 19.


@given(groups, st.floats(-9, 9))
def test_best_per_prompt_is_one_argmax_a_group_and_ignores_offsets(
    rows: list[tuple[int, float, bool]], offset: float
) -> None:
    g, x, valid = (
        torch.tensor([r[0] for r in rows]),
        torch.tensor([r[1] for r in rows]),
        torch.tensor([r[2] for r in rows]),
    )
    won = best_per_prompt(x, g, valid)
    for k in g.unique():
        members = (g == k) & valid
        assert int(won[g == k].sum()) == min(1, int(members.sum()))
        if bool(members.any()):
            assert float(x[won & members]) == float(x[members].max())
    ranks = x.argsort().argsort().float()  # a strictly increasing map of x, up to ties
    if len(x.unique()) == len(x):
        assert torch.equal(won, best_per_prompt(ranks, g, valid))
        assert torch.equal(won, best_per_prompt(x.double() + offset * g, g, valid))


def test_global_selection_depends_on_offsets_between_prompts() -> None:
    x, g, v = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool)
    assert best_of_batch(x, g, v).tolist() == [False, False, True, True]
    assert best_of_batch(x + 10 * (g == 0), g, v).tolist() == [True, True, False, False]


def test_winners_follow_the_best_of_k_law_and_two_stages_compose() -> None:
    """Properties 2 to 4: F_i^K - F_{i-1}^K; K = 2 twice is K = 4 once; KL = log K - (K-1)/K; K = 1 changes nothing."""
    g = torch.Generator().manual_seed(0)
    p = torch.softmax(torch.randn(8, generator=g), 0)
    n, k = 50_000, 4

    def stage(p: torch.Tensor, k: int) -> torch.Tensor:
        draws = torch.multinomial(p, n * k, replacement=True, generator=g)
        group = torch.arange(n).repeat_interleave(k)
        # best_per_prompt loops over groups; the same rule for a table of draws:
        won = draws.reshape(n, k).amax(-1)
        some = best_per_prompt(draws[: 50 * k].float(), group[: 50 * k], torch.ones(50 * k, dtype=torch.bool))
        assert torch.equal(draws[: 50 * k][some], won[:50])
        return torch.bincount(won, minlength=8) / n

    cdf = p.cumsum(0)
    law = cdf**k - torch.cat([torch.zeros(1), cdf[:-1]]) ** k
    error = 4 * (law * (1 - law) / n).sqrt() + 1e-4
    assert bool(((stage(p, k) - law).abs() < error).all())
    assert bool(((stage(stage(p, 2), 2) - law).abs() < 3 * error).all())
    assert bool(((stage(p, 1) - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all())
    u = torch.rand(n, k, generator=g).amax(-1)  # continuous rewards: density K u^{K-1} against uniform
    assert float((k * u ** (k - 1)).log().mean()) == pytest.approx(np.log(k) - (k - 1) / k, abs=0.02)


def test_a_raft_step_is_the_supervised_gradient_on_the_winners() -> None:
    policy = letters.policy()
    algorithm = RAFT(policy, shorter, group_size=3, sampling=SHORT, unfinished="keep")
    credited = algorithm.experience(Rows(TASKS), Step(0, 0))
    loss = algorithm(credited)
    (loss.sum / loss.weight).backward()
    ours = [p.grad.clone() for p in policy.parameters()]  # type: ignore[union-attr]
    policy.zero_grad()
    drawn = policy.sample(
        [t.prompt for t in TASKS],
        3,
        SHORT,
        seed=__import__("accord.engine", fromlist=["derive"]).derive(0, 0, 0, purpose="rollout"),
    )
    values = torch.tensor(shorter(prompts=None, completions=drawn.completions))
    won = best_per_prompt(values, drawn.group, torch.ones(12, dtype=torch.bool)).nonzero()[:, 0].tolist()
    winners = drawn.select(won)
    (-policy.logprobs(winners).sum() / winners.mask.sum()).backward()
    for a, p in zip(ours, policy.parameters(), strict=True):
        assert torch.allclose(a, p.grad, atol=1e-5)  # type: ignore[arg-type]
    assert len(credited) == len(TASKS), "losers need no forward pass"


def test_raft_kl_vanishes_at_the_first_stage() -> None:
    """Property 6: policy and reference are one, so the winners are those of the plain reward."""
    rollouts = fake([0, 0, 0, 1, 1], [3, 3, 4, 2, 5])
    rollouts = replace(rollouts, reference=rollouts.logprobs.clone())
    scores = Scores.of(torch.tensor([1.0, 3.0, 2.0, 5.0, 4.0]))
    for kl in (0.0, 100.0):
        assert (BestOfGroup(kl=kl)(scores, rollouts)[0].weight.sum(-1) > 0).tolist() == [
            False,
            True,
            False,
            True,
            False,
        ]


# On-policy training on a real policy.


@pytest.mark.parametrize("make", [GRPO, RLOO, PPO, RAFT])
def test_on_policy_methods_raise_an_easy_reward_and_start_on_policy(make) -> None:  # type: ignore[no-untyped-def]
    policy = letters.policy()
    options = {"group_size": 4, "sampling": Sampling(max_new_tokens=24)}
    run = fit(make(policy, shorter, **options), letters.tasks(40), steps=8, batch_size=6, lr=1e-3, progress=False)
    if make is not RAFT:
        assert max(run.column("off_policy")) < 1e-4
    reward = run.column("reward")
    assert sum(reward[-2:]) / 2 > sum(reward[:2]) / 2 + 1


def test_minibatches_and_inner_epochs_see_the_clip() -> None:
    policy = letters.policy()
    run = fit(
        GRPO(policy, shorter, group_size=4, sampling=SHORT),
        TASKS,
        steps=2,
        batch_size=4,
        minibatches=2,
        inner_epochs=3,
        lr=3e-3,
        progress=False,
    )
    assert run.metrics[-1]["off_policy"] > 1e-3


def test_the_kl_term_keeps_the_policy_near() -> None:
    drift = []
    for kl in (0.0, 3.0):
        policy = letters.policy()
        watch = Probe(policy, letters.tasks(40), {}, SHORT, reference=policy.freeze("base"))
        fit(
            GRPO(policy, shorter, kl=kl, group_size=4, sampling=SHORT),
            letters.tasks(40),
            steps=8,
            batch_size=6,
            lr=1e-3,
            progress=False,
        )
        drift.append(watch(8)["kl"])
    assert drift[1] < 0.5 * drift[0]


def test_unfinished_answers_can_be_dropped_or_scored() -> None:
    policy = letters.policy()
    tight = Sampling(max_new_tokens=14)
    for how in ("drop", -9.0):
        algorithm = RLOO(policy, shorter, kl=0, group_size=4, sampling=tight, unfinished=how)
        step = Step(0, 0)
        algorithm.experience(Rows(TASKS), step)
        finished = step.metrics["finished"].value
        assert finished < 1
        if how == "drop":
            assert step.metrics["reward"].weight == pytest.approx(16 * finished)
        else:
            assert step.metrics["reward"].value < -9 * (1 - finished)


@pytest.mark.parametrize(
    "build",
    [
        lambda p: GRPO(p, shorter, sampling=Sampling(top_p=0.9)),
        lambda p: GRPO(p, shorter, kl=0.1, reference=None),
        lambda p: GRPO(p, shorter, group_size=0),
        lambda p: Rollout(p, shorter, GroupRelative(kl=1.0, estimator="k1")),
        lambda p: Preference(p, losses.dpo, {"betta": 0.1}),
    ],
)
def test_wrong_combinations_are_refused_when_built(build, base_policy: LanguagePolicy) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError):
        build(base_policy)


# Preferences.


PAIRS = [
    Comparison(prompt=t.prompt, chosen="the answer is 5 . thank you for asking .", rejected="i admire you .")
    for t in TASKS
]


@pytest.mark.parametrize("method", [DPO, IPO, SimPO, ORPO, RPO])
def test_preference_losses_learn_to_prefer_and_never_move_the_reference(method: type[Preference]) -> None:
    policy = letters.policy()
    algorithm = method(policy)  # type: ignore[call-arg, arg-type]
    before = algorithm.evaluate(PAIRS)
    fit(algorithm, PAIRS, steps=6, batch_size=4, lr=5e-4, progress=False)
    after = algorithm.evaluate(PAIRS)
    assert bool((after[1] > before[1]).all())
    if algorithm.reference:
        assert before[0].abs().max() < 1e-4, "implicit rewards are 0 before training"
        assert bool((after[0] > 0).all())


def test_lora_dpo_needs_no_copy_of_the_reference() -> None:
    policy = letters.policy()
    policy.add_lora(4, "CAUSAL_LM")
    algorithm = DPO(policy)
    run = fit(algorithm, PAIRS, steps=3, batch_size=4, lr=1e-2, progress=False)
    assert run.metrics[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert run.metrics[-1]["margin"] > 0.1
    assert sum(p.numel() for p in algorithm.parameters()) < 1.3 * sum(p.numel() for p in letters.policy().parameters())


def test_reference_logprobs_are_kept_on_disk_under_data_and_model(tmp_path) -> None:  # type: ignore[no-untyped-def]
    def reference(seed: int):  # type: ignore[no-untyped-def]
        algorithm = DPO(tiny_policy(seed=seed), store=tmp_path)
        calls: list[int] = []
        inner = algorithm.reference.policy.likelihood  # type: ignore[union-attr]
        algorithm.reference.policy.likelihood = lambda groups, draw=None: calls.append(len(groups)) or inner(groups)  # type: ignore[union-attr]
        return algorithm.experience(Rows(PAIRS), Step(0, 0)).reference, calls

    first, again, other = reference(0), reference(0), reference(1)
    assert first[1] == [4]
    assert again[1] == []
    assert torch.equal(first[0], again[0])
    assert other[1] == [4], "another model's log-probs are another entry"


def test_kto_raises_good_and_lowers_bad() -> None:
    policy = letters.policy()
    rows = [
        Label(prompt=t.prompt, completion="the answer is 5 ." if i % 2 else "i admire you .", label=bool(i % 2))
        for i, t in enumerate(letters.tasks(12))
    ]
    run = fit(KTO(policy), rows, steps=8, batch_size=6, lr=5e-4, progress=False)
    assert run.metrics[-1]["reward_good"] > 0 > run.metrics[-1]["reward_bad"]
    with pytest.raises(FeedbackError, match="labelled"):
        KTO(policy).experience(Rows(PAIRS), Step(0, 0))


def test_supervised_loss_is_the_token_mean_cross_entropy() -> None:
    policy = letters.policy()
    rows = Rows(
        Example(prompt=t.prompt, completion=c)
        for t, c in zip(
            TASKS, ["the answer is 5 .", "i admire you . it is the crow .", "", "you are welcome ."], strict=True
        )
    )
    algorithm = Supervised(policy)
    loss = algorithm(algorithm.experience(rows, Step(0, 0)))
    total = count = 0.0
    for r in rows:
        p, c = policy.tokeniser.prompt(r.prompt), policy.tokeniser.completion(r.prompt, r.completion)
        logits = policy.model(input_ids=torch.tensor([p + c])).logits[0, len(p) - 1 : -1]
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(c), reduction="sum"))
        count += len(c)
    assert float(loss.sum) == pytest.approx(total, rel=1e-4)
    assert loss.weight == count


def test_rounds_start_from_the_last_ones_weights_and_resume(tmp_path) -> None:  # type: ignore[no-untyped-def]
    seen: list[int] = []

    def build(r: Round):  # type: ignore[no-untyped-def]
        seen.append(len(r.snapshots))
        drawn = r.snapshots[-1].sample([t.prompt for t in TASKS], 2, SHORT, seed=r.seed)
        rows = [Example(prompt=p, completion=c) for p, c in zip(drawn.prompt_of_each(), drawn.completions, strict=True)]
        return Supervised(r.policy), rows

    training = Training(steps=2, batch_size=4, lr=1e-3, progress=False)
    policy, again = letters.policy(), letters.policy()
    rounds(2, policy, build, training, out=tmp_path)
    assert seen == [1, 2]
    rounds(2, again, build, training, out=tmp_path, resume=True)
    assert seen == [1, 2], "finished rounds are not run again"
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), again.parameters(), strict=True))


def test_a_critic_trains_only_what_it_calls() -> None:
    from accord.policies.critic import Critic
    from accord.rewards import BradleyTerry

    drawn = letters.policy().sample([t.prompt for t in TASKS], 2, SHORT)
    for trunk in (tiny_policy("llama"), BradleyTerry.load(letters.WEIGHTS)):
        critic = Critic(trunk)
        assert not critic(drawn).any(), "it begins at zero"
        torch.nn.init.normal_(critic.head.weight)
        critic(drawn).sum().backward()
        assert all(p.grad is not None for p in critic.parameters() if p.requires_grad)


def test_raft_keeps_fewer_rows_than_minibatches() -> None:
    """Losers are left out, so an experience can be smaller than the number of cuts that was asked for."""
    run = fit(RAFT(letters.policy(), shorter, group_size=4, sampling=Sampling(max_new_tokens=40)), TASKS, steps=2, batch_size=2, minibatches=2,
              inner_epochs=2, lr=1e-4, progress=False)  # fmt: skip
    assert len(run.metrics) == 2
    one = RAFT(
        letters.policy(),
        lambda *, prompts, completions, **c: [1.0] + [None] * (len(completions) - 1),
        group_size=4,
        sampling=SHORT,
    )
    assert len(fit(one, TASKS, steps=1, batch_size=4, minibatches=3, lr=1e-4, progress=False).metrics) == 1
