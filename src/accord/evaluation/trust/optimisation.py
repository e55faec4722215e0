"""What is won and what is only claimed as best-of-n optimises a reward harder, by answers that people have judged."""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from accord.evaluation.accuracy import Estimate
from accord.evaluation.best_of_n import best_of_n_curve
from accord.evaluation.trust.intervals import Array, Bootstrap
from accord.feedback import Comparison, Prompt, Ranking, Rating, picture_key, prompt_key
from accord.rewards.reward import Reward, score


@dataclass(frozen=True)
class Pool:
    """Several answers to a prompt, each with what people think of it.

    Attributes:
        worth: in whatever unit people gave; only differences within a prompt mean anything.
    """

    prompt: Prompt
    completions: tuple[Any, ...]
    worth: tuple[float, ...]
    columns: dict[str, Any]


@dataclass(frozen=True)
class Optimisation:
    """Attributes:
    curve: for each n: n, kl, `claimed` (the reward's own value) and `true` (people's), both as gains over n = 1 in standard
        deviations of a prompt's answers.
    reliability: correlation of the reward with people within a prompt; of a gain that it claims, this share is expected.
    unkept: what the largest n claims beyond what is true.
    fall: how far the truth at the largest n lies below its peak.
    best: n at which ``d (alpha - beta d)``, d = sqrt(KL), fitted to the truth (Gao et al. 2023, arXiv 2210.10760), is highest;
        None where it bends upward, or is highest beyond the largest n: no peak in sight.
    """

    curve: list[dict[str, float]]
    reliability: Estimate
    unkept: Estimate
    fall: Estimate
    best: float | None
    prompts: int
    answers: int

    def row(self) -> dict[str, Any]:
        return asdict(self)


def pools(records: Sequence[Any], pairs: Sequence[Comparison] = ()) -> list[Pool]:
    """Answers that people have judged: of rankings, of ratings, and, to other prompts, of comparisons that meet (by the
    share that each won)."""
    made = [Pool(r.prompt, tuple(r.completions), tuple(r.scores or range(len(r.completions), 0, -1)), r.columns)
            for r in records if isinstance(r, Ranking)]  # fmt: skip
    rated: dict[str, list[Rating]] = defaultdict(list)
    for r in records:
        if isinstance(r, Rating):
            rated[prompt_key(r.prompt)].append(r)
    made += [Pool(g[0].prompt, tuple(r.completion for r in g), tuple(next(iter(r.aspects.values())) for r in g), g[0].columns)
             for g in rated.values()]  # fmt: skip
    judged = {prompt_key(p.prompt) for p in made}
    compared: dict[tuple[str, Any], list[Comparison]] = defaultdict(list)
    for p in pairs:
        if (key := prompt_key(p.prompt)) not in judged:
            compared[key, p.columns.get("newcomer")].append(p)  # what one of them prefers says nothing of another
    return made + [_won(group) for group in compared.values()]


@torch.no_grad()
def optimisation(reward: Reward, judged: Sequence[Pool], *, clusters: Mapping[str, Hashable] | None = None, least: int = 3, most: int = 16,
                 seed: int = 0) -> Optimisation | None:  # fmt: skip
    """Best-of-n over judged answers; None without enough of them, or where the reward doesn't apply.

    Args:
        clusters: by a prompt's key what makes it dependent on others; itself without.
        least, most: answers of a prompt: those with fewer are left out, of more so many are drawn.
    """
    usable = [p for p in judged if len(p.completions) >= least and len(set(p.worth)) > 1]
    if len(usable) < 2:
        return None
    m = min(most, sorted(len(p.completions) for p in usable)[len(usable) // 2])
    usable = [_drawn(p, m, seed) for p in usable if len(p.completions) >= m]
    usable = [p for p in usable if len(set(p.worth)) > 1]
    said = [(p, s) for p in usable if (s := _asked(reward, p)) is not None and s.std() > 0]
    if len(said) < 2:
        return None
    claimed, true = np.stack([_standard(s) for _, s in said]), np.stack([_standard(np.array(p.worth)) for p, _ in said])
    keys = [prompt_key(p.prompt) for p, _ in said]
    return _measured(claimed, true, [(clusters or {}).get(k, k) for k in keys])


def _measured(claimed: Float[Array, "p m"], true: Float[Array, "p m"], clusters: Sequence[Hashable]) -> Optimisation:
    m = claimed.shape[1]
    ns = [n for n in (1, 2, 3, 4, 6, 8, 12, 16) if n <= m]
    # Each prompt's own curve, so that curves of resampled prompts are means of them.
    rows = np.array([[[r["chooser"], r["true"]] for r in best_of_n_curve(
        torch.tensor(c)[None], {"true": torch.tensor(t)[None]}, ns)] for c, t in zip(claimed, true, strict=True)])  # fmt: skip
    rows = rows - rows[:, :1]
    boot = Bootstrap(clusters)
    gains = rows.mean(0)
    kl = np.array([math.log(n) - (n - 1) / n for n in ns])

    def fall(weights: Float[Array, "b n"]) -> Float[Array, "b"]:
        curves = weights @ rows[:, :, 1] / weights.sum(-1, keepdims=True)
        return curves.max(-1) - curves[:, -1]

    curve = [{"n": float(n), "kl": float(k), "claimed": float(c), "true": float(t)}
             for n, k, (c, t) in zip(ns, kl, gains, strict=True)]  # fmt: skip
    return Optimisation(curve, boot.mean((claimed * true).mean(-1)), boot.mean(rows[:, -1, 0] - rows[:, -1, 1]), boot.of(fall),
                        _peak(ns, kl, gains[:, 1]), len(rows), m)  # fmt: skip


def _peak(ns: Sequence[int], kl: Float[Array, "k"], gain: Float[Array, "k"]) -> float | None:
    """n at the top of a least-squares fit of ``alpha d - beta d^2``, where that is within the data."""
    from scipy.optimize import brentq

    if len(kl) < 4:
        return None
    d = np.sqrt(kl)
    (alpha, minus_beta), *_ = np.linalg.lstsq(np.stack([d, d**2], -1), gain, rcond=None)
    if alpha <= 0 or minus_beta >= 0:
        return 1.0 if alpha <= 0 and minus_beta < 0 else None
    top = (-alpha / (2 * minus_beta)) ** 2
    return None if top > kl[-1] else float(brentq(lambda n: math.log(n) - 1 + 1 / n - top, 1, ns[-1]))


def _won(group: Sequence[Comparison]) -> Pool:
    answers = {picture_key(c): c for p in group for c in (p.chosen, p.rejected)}
    won, met = dict.fromkeys(answers, 0), dict.fromkeys(answers, 0)
    for p in group:
        won[picture_key(p.chosen)] += 1
        for c in (p.chosen, p.rejected):
            met[picture_key(c)] += 1
    return Pool(group[0].prompt, tuple(answers.values()), tuple(won[k] / met[k] for k in answers), group[0].columns)


def _drawn(pool: Pool, m: int, seed: int) -> Pool:
    """So many answers in an order that says nothing: rankings come best first, and the first of ties is taken for the best."""
    rows = Random(f"pool:{seed}:{prompt_key(pool.prompt)}").sample(range(len(pool.completions)), m)
    return Pool(pool.prompt, tuple(pool.completions[i] for i in rows), tuple(pool.worth[i] for i in rows), pool.columns)


def _asked(reward: Reward, pool: Pool) -> Float[Array, "m"] | None:
    n = len(pool.completions)
    columns: dict[str, Any] = {k: [v] * n for k, v in pool.columns.items()}
    said = score(reward, prompts=[pool.prompt] * n, completions=list(pool.completions), group=[0] * n, **columns)
    return said.values.detach().double().cpu().numpy() if bool(said.valid.all()) else None


def _standard(x: Float[Array, "m"]) -> Float[Array, "m"]:
    return (x - x.mean()) / x.std()
