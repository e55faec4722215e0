"""Prompts and their completions as trees in one row, so that what they share is computed once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from accord.errors import FeedbackError


@dataclass(frozen=True)
class Branch:
    """A run of tokens and what may follow it."""

    tokens: Sequence[int]
    children: tuple["Branch", ...] = ()


@dataclass(frozen=True)
class Node:
    """A branch once packed: tokens [start, stop) of the row, its subtree ending at `end`, `path` from root to itself."""

    start: int
    stop: int
    end: int
    path: tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """A node that has tokens, [start, stop) of the row: its queries see the spans on their path, the last of which is
    their own, under a mask (None: plainly causal)."""

    start: int
    stop: int
    path: tuple[int, ...]
    mask: Bool[Tensor, "q k"] | None


@dataclass(frozen=True)
class Batch:
    """The trees side by side, one a row and padded: tokens at `index`, who sees whom, where each token went (`back`)."""

    index: Int[Tensor, "b l"]
    mask: Bool[Tensor, "b 1 l l"]
    back: Int[Tensor, "s"]


class TokenTree:
    """Trees of tokens packed in preorder without padding; query q sees key k exactly when ``k <= q < end[k]``.

    Position ids are depths in the tree, so that a branch continues where its parent stopped. Every token below a
    root (the prompt) is scored: the hidden state at `source` predicts the token `target`. `index[n, t]` finds step t
    of completion n (one for each leaf, in the order given) among the scored tokens; -1 beyond its end.
    """

    def __init__(self, roots: Sequence[Branch]) -> None:
        tokens: list[int] = []
        positions: list[int] = []
        nodes: list[Node] = []
        leaves: list[int] = []

        def place(branch: Branch, path: tuple[int, ...], depth: int) -> None:
            me, start = len(nodes), len(tokens)
            tokens.extend(branch.tokens)
            stop = len(tokens)
            positions.extend(range(depth, depth + stop - start))
            nodes.append(Node(start, stop, stop, (*path, me)))
            for child in branch.children:
                place(child, (*path, me), depth + stop - start)
            nodes[me] = Node(start, stop, len(tokens), (*path, me))
            if path and not branch.children:
                leaves.append(me)

        for root in roots:
            if not root.tokens:
                raise FeedbackError("a prompt without tokens: give at least one (a BOS token or some text)")
            place(root, (), 0)
        self.tokens: Int[Tensor, "s"] = torch.tensor(tokens, dtype=torch.long)
        self.positions: Int[Tensor, "s"] = torch.tensor(positions, dtype=torch.long)
        self.nodes = nodes
        self.leaves = leaves
        self._spans: dict[int | None, list[Span]] = {}
        self._batches: dict[int | None, Batch] = {}
        self._blocks: dict[tuple[int | None, torch.device], Any] = {}
        self._index_scored()

    @classmethod
    def pack(cls, groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> "TokenTree":
        """The usual shallow trees: a prompt's ids and those of its completions, group after group."""
        return cls([Branch(prompt, tuple(Branch(c) for c in completions)) for prompt, completions in groups])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def end(self) -> Int[Tensor, "s"]:
        """Where the subtree of each token ends."""
        end = torch.empty_like(self.tokens)
        for node in self.nodes:
            end[node.start : node.stop] = node.end
        return end

    @property
    def last(self) -> Int[Tensor, "n"]:
        """The row index of each completion's last token (its prompt's, for an empty completion)."""
        return torch.tensor([self._last_token(self.nodes[leaf].path) for leaf in self.leaves])

    def visible(self, window: int | None = None) -> Bool[Tensor, "s s"]:
        """The whole mask, as the definition says; for tests and for attention kernels that want it dense."""
        q, k = torch.arange(len(self))[:, None], torch.arange(len(self))[None]
        seen = (k <= q) & (q < self.end[None])
        return seen if window is None else seen & (self.positions[:, None] - self.positions[None] < window)

    def spans(self, window: int | None = None) -> list[Span]:
        """One span a node, so that attention costs what each tree costs; made once for each window."""
        if window not in self._spans:
            self._spans[window] = list(self._make_spans(window))
        return self._spans[window]

    @property
    def many_and_small(self) -> bool:
        """Whether one padded call costs less than a call for each node (whose overhead is that of some 10^5 products)."""
        return len(self.nodes) >= 8 and self.work <= 20_000 * len(self.nodes)

    @property
    def work(self) -> int:
        """How many scores a head computes if all trees are padded to the longest."""
        lengths = [n.end - n.start for n in self.nodes if len(n.path) == 1]
        return max(lengths) ** 2 * len(lengths)

    def blocks(self, window: int | None, device: torch.device) -> Any:
        """The mask in FlexAttention's form, made once for each window and device."""
        from torch.nn.attention.flex_attention import create_block_mask

        if (window, device) not in self._blocks:
            end, depth, n = self.end.to(device), self.positions.to(device), len(self)

            def visible(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
                seen = (k <= q) & (q < end[k])
                return seen if window is None else seen & (depth[q] - depth[k] < window)

            self._blocks[window, device] = create_block_mask(visible, None, None, n, n, device=str(device))
        return self._blocks[window, device]

    def batch(self, window: int | None = None) -> Batch:
        """All trees in one padded batch, made once for each window."""
        if window not in self._batches:
            roots = [n for n in self.nodes if len(n.path) == 1]
            length = torch.tensor([n.end - n.start for n in roots])
            start = torch.tensor([n.start for n in roots])
            column = torch.arange(int(length.max()))
            real = column < length[:, None]
            index = torch.where(real, start[:, None] + column, start[:, None])
            end = self.end[index] - start[:, None]
            q, k = column[:, None], column[None]
            mask = (k <= q) & (q < end[:, None, :]) & real[:, None, :]
            if window is not None:
                depth = self.positions[index]
                mask &= depth[:, :, None] - depth[:, None, :] < window
            mask |= torch.eye(len(column), dtype=torch.bool)  # padding sees itself: a row that sees nothing is NaN
            self._batches[window] = Batch(index, mask[:, None], real.flatten().nonzero()[:, 0])
        return self._batches[window]

    def _make_spans(self, window: int | None) -> Iterator[Span]:
        number: dict[int, int] = {}
        for i, node in enumerate(self.nodes):
            if node.start == node.stop:
                continue
            number[i] = len(number)
            path = tuple(number[j] for j in node.path if j in number)
            depth = self.positions[node.start : node.stop]
            if len(path) == 1 and (window is None or len(depth) <= window):
                yield Span(node.start, node.stop, path, None)
                continue
            # Along a path positions are 0, 1, 2, …: the keys' positions are simply counted.
            behind = depth[:, None] - torch.arange(int(depth[-1]) + 1)[None]
            mask = behind >= 0 if window is None else (behind >= 0) & (behind < window)
            yield Span(node.start, node.stop, path, mask)

    def _last_token(self, path: tuple[int, ...]) -> int:
        return next(self.nodes[i].stop - 1 for i in reversed(path) if self.nodes[i].stop > self.nodes[i].start)

    def _index_scored(self) -> None:
        source: list[int] = []
        first: dict[int, int] = {}
        scored: list[int] = []
        for i, node in enumerate(self.nodes):
            if len(node.path) > 1 and node.stop > node.start:
                first[i] = len(source)
                source.append(self._last_token(node.path[:-1]))
                source.extend(range(node.start, node.stop - 1))
                scored.extend(range(node.start, node.stop))
        rows = []
        for leaf in self.leaves:
            steps = [
                first[i] + k for i in self.nodes[leaf].path[1:] for k in range(self.nodes[i].stop - self.nodes[i].start)
            ]
            rows.append(torch.tensor(steps, dtype=torch.long))
        self.source: Int[Tensor, "r"] = torch.tensor(source, dtype=torch.long)
        self.target: Int[Tensor, "r"] = self.tokens[torch.tensor(scored, dtype=torch.long)]
        self.index: Int[Tensor, "n t"] = (
            torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
            if rows
            else torch.empty(0, 0, dtype=torch.long)
        )
