"""Answers that share their beginnings, and what a set of comparisons tells of answers that were never compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from accord.engine.seeds import derive
from accord.errors import ConfigError, wanted
from accord.feedback import Prompt
from accord.policies.base import Sampling
from accord.policies.language import LanguagePolicy

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Leaf:
    """A whole answer of a tree.

    Attributes:
        ids: its tokens as they were sampled. path: the branches taken. cuts: tokens before each of them.
    """

    text: str
    ids: tuple[int, ...]
    path: tuple[int, ...]
    cuts: tuple[int, ...]

    def shared(self, other: "Leaf") -> int:
        """Branches that two answers have in common."""
        return next(
            (i for i, (a, b) in enumerate(zip(self.path, other.path, strict=False)) if a != b),
            min(len(self.path), len(other.path)),
        )


def grown(policy: LanguagePolicy, prompts: Sequence[Prompt], *, depth: int = 3, branch: int = 2, length: int = 64,
          sampling: Sampling = Sampling(), seed: int = 0) -> list[list[Leaf]]:  # fmt: skip
    """To each prompt a tree of answers: every piece goes on in `branch` ways, `depth` times, so that answers share their beginnings as leaves do
    (tree-structured preference data, Qiu et al. 2024, arXiv 2402.10184). Any one answer is distributed as if it were sampled alone; only together they
    differ. depth 1 gives independent answers. Leaves with equal texts are one.

    Args:
        depth, branch: at least 1; no more than branch^depth answers. length: tokens of a usual answer, at most `max_new_tokens`; forks are spread over it, a piece being its remaining
            length over the pieces that remain. sampling: of the whole answer: the last piece runs to its limit.
        seed: of the draws.
    """
    wanted(depth >= 1 and branch >= 1 and length >= depth, "a tree wants depth and branch of at least 1, and length of at least depth", (depth, branch, length))  # fmt: skip
    most = sampling.max_new_tokens
    wanted(length <= most, f"length is that of a tree's usual answer, at most max_new_tokens, {most}", length)
    asked = [policy.prompt_ids(p) for p in prompts]
    alive = [(i, Leaf("", (), (), ())) for i in range(len(prompts))]
    ended: list[list[Leaf]] = [[] for _ in prompts]
    for level in range(depth):
        piece = replace(sampling, max_new_tokens=_piece(level, depth, length, sampling.max_new_tokens))
        drawn = policy.continued(
            [asked[i] + list(x.ids) for i, x in alive], branch, piece, derive(seed, level, purpose="tree")
        )
        going = []
        for row, (ids, over) in enumerate(zip(drawn.ids, drawn.finished.tolist(), strict=True)):
            i, before = alive[row // branch]
            whole = (*before.ids, *ids)
            leaf = Leaf(
                policy.tokeniser.decode(whole), whole, (*before.path, row % branch), (*before.cuts, len(before.ids))
            )
            (ended[i].append(leaf) if over or level + 1 == depth else going.append((i, leaf)))
        alive = going
        if not alive:
            break
    return [_distinct(sorted(leaves, key=lambda x: x.path)) for leaves in ended]


def _piece(level: int, depth: int, length: int, most: int) -> int:
    """Tokens of a piece: an equal share of what is usual, and for the last all that is allowed."""
    before = sum(_share(k, depth, length) for k in range(level))
    return most - before if level + 1 == depth else min(_share(level, depth, length), most - before)


def _share(level: int, depth: int, length: int) -> int:
    return (length * (level + 1)) // depth - (length * level) // depth


def _distinct(leaves: Sequence[Leaf]) -> list[Leaf]:
    return list({leaf.text: leaf for leaf in reversed(leaves)}.values())[::-1]


def leaf_pairs(leaves: Sequence[Leaf], n: int, *, seed: int = 0) -> list[tuple[Leaf, Leaf]]:
    """n pairs of different answers of a tree, all equally likely and none twice; fewer, where there are no more."""
    all_pairs = list(combinations(leaves, 2))
    drawn = Random(f"leaves:{seed}").sample(all_pairs, min(n, len(all_pairs)))
    return [pair if Random(f"side:{seed}:{i}").random() < 0.5 else pair[::-1] for i, pair in enumerate(drawn)]


class InducedNetwork:
    """What is known of a reward's differences from comparisons and from likeness: answers are nodes; an edge says that the difference of its ends
    is known with a variance.

    Args:
        n: answers. edges: (answer, answer, variance > 0). A comparison by Bradley-Terry people of slope beta has variance ``pi^2 / (3 beta^2)``.
    """

    def __init__(self, n: int, edges: Sequence[tuple[int, int, float]]) -> None:
        odd = [e for e in edges if not (0 <= e[0] < n and 0 <= e[1] < n and e[0] != e[1] and e[2] > 0)]
        if odd:
            raise ConfigError(f"an edge joins two of {n} answers with a variance above 0, but got {odd[0]}")
        self.n, self.edges = n, list(edges)

    def distances(self) -> Floats:
        """Inference distances: the least sum of variances along a path between any two answers; infinite where there is none."""
        best: dict[tuple[int, int], float] = {}
        for i, j, v in self.edges:
            key = min(i, j), max(i, j)
            best[key] = min(v, best.get(key, np.inf))
        ends = np.array(list(best), dtype=int).reshape(-1, 2)
        graph = coo_array(
            (np.array(list(best.values()), dtype=float), (ends[:, 0], ends[:, 1])), shape=(self.n, self.n)
        )
        return np.asarray(shortest_path(graph.tocsr(), directed=False))

    def variances(self) -> Floats:
        """``Var[r_i - r_j | all edges]`` with Gaussian differences: the effective resistance of the network whose conductances are 1 / variance, never more than
        the inference distance."""
        laplacian = np.zeros((self.n, self.n))
        for i, j, v in self.edges:
            laplacian[[i, j], [i, j]] += 1 / v
            laplacian[[i, j], [j, i]] -= 1 / v
        inverse = np.linalg.pinv(laplacian, hermitian=True)
        found = inverse.diagonal()[:, None] + inverse.diagonal()[None] - 2 * inverse
        return np.where(np.isinf(self.distances()), np.inf, found)

    def mean(self, table: Floats) -> float:
        """Over all pairs of different answers: how well the whole is known."""
        return float(table[np.triu_indices(self.n, 1)].mean())


def network_of(
    features: Any, compared: Sequence[tuple[int, int]], *, beta: float = 1.0, alike: float = 1.0, neighbours: int = 4
) -> InducedNetwork:
    """The network of answers with features [n, d] of which some were compared: likeness joins each to its nearest ones.

    Args:
        beta: slope of who compared, > 0. alike: variance of a reward's difference between answers whose features lie 1 apart, > 0.
        neighbours: to which likeness joins each, at least 1.
    """
    wanted(
        beta > 0 and alike > 0 and neighbours >= 1,
        "a network wants beta > 0, alike > 0, neighbours >= 1",
        (beta, alike, neighbours),
    )
    rows = np.asarray(features, dtype=float)
    apart = np.stack([np.linalg.norm(rows - row, axis=-1) for row in rows])
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1, kind="stable")[:, :neighbours]
    likeness = {(min(i, int(j)), max(i, int(j))) for i, js in enumerate(near) for j in js}
    edges = [(i, j, float(alike * apart[i, j] ** 2) + 1e-9) for i, j in sorted(likeness)]
    return InducedNetwork(len(rows), [*edges, *((i, j, np.pi**2 / (3 * beta**2)) for i, j in compared)])
