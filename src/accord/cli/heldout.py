"""How well a reward does on feedback that it has not seen: whom it ranks first, and how near it comes to ratings."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from accord.errors import ConfigError
from accord.evaluation import Estimate, accuracy
from accord.feedback import Comparison, Rating, Record, picture_key, prompt_key
from accord.rewards import Reward, score


class HeldOut:
    """Measures of a reward on held-out feedback.

    Args:
        pairs: comparisons. ratings: of single answers; those of one prompt that were rated differently make pairs as well.
        by: what makes pairs dependent: "prompt", or a column.
        most: measure on at most so many pairs and so many ratings, evenly spread.
    """

    def __init__(self, pairs: Sequence[Comparison], ratings: Sequence[Rating] = (), by: str = "prompt",
                 most: int | None = None) -> None:  # fmt: skip
        self.ratings, self.by = spread_out(ratings, most), by
        self.pairs = spread_out([*pairs, *rated_pairs(ratings)], most)
        self.clusters = [cluster(p, by) for p in self.pairs]

    def __call__(self, reward: Reward | None) -> dict[str, float]:
        """All measures by name; of None, a reward that scores everything 0."""
        row: dict[str, float] = {}
        if self.pairs:
            found = self.accuracy(reward)
            row |= {"accuracy": found.value, "accuracy_low": found.low, "accuracy_high": found.high}
        if self.ratings:
            said = _scores(reward, [(r.prompt, r.completion) for r in self.ratings])
            wanted = torch.tensor([rated(r) for r in self.ratings])
            row |= {
                "rank_correlation": rank_correlation(said, wanted),
                "error": float((said - wanted).square().mean().sqrt()),
            }
        return row

    def accuracy(self, reward: Reward | None) -> Estimate:
        """How often the preferred answer comes first, with an interval over prompts (or the values of the column)."""
        said = _scores(reward, [(p.prompt, c) for p in self.pairs for c in (p.chosen, p.rejected)], together=2)
        return accuracy(said[0::2] - said[1::2], self.clusters)

    def words(self, row: dict[str, float]) -> str:
        """The measures as one reads them."""
        parts = []
        if self.pairs:
            parts.append(f"held-out accuracy {row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}] on "
                         f"{len(self.pairs)} pairs of {len(set(self.clusters))} {self.by}s")  # fmt: skip
        if self.ratings:
            parts.append(f"held-out rank correlation {row['rank_correlation']:.3f}, error {row['error']:.3g} on "
                         f"{len(self.ratings)} ratings")  # fmt: skip
        return "; ".join(parts)

    def sizes(self) -> dict[str, int]:
        return {
            "test_pairs": len(self.pairs),
            "test_clusters": len(set(self.clusters)),
            "test_ratings": len(self.ratings),
        }


def rated(rating: Rating) -> float:
    """The one number of a rating with one aspect."""
    return next(iter(rating.aspects.values()))


def rated_pairs(ratings: Sequence[Rating]) -> list[Comparison]:
    """Different answers to one prompt of which one was rated higher."""
    groups: dict[str, list[Rating]] = defaultdict(list)
    for r in ratings:
        groups[prompt_key(r.prompt)].append(r)
    return [
        Comparison(prompt=a.prompt, chosen=a.completion, rejected=b.completion, columns=a.columns)
        for group in groups.values() for a in group for b in group if rated(a) > rated(b) and picture_key(a.completion) != picture_key(b.completion)
    ]  # fmt: skip


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's; 0 where either is all ties, which order nothing."""
    if len(x) < 2 or bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return 0.0
    return float(spearmanr(x.numpy(), y.numpy()).statistic)


def cluster(record: Record, by: str) -> str:
    if by == "prompt":
        return prompt_key(record.prompt)
    if by not in record.columns:
        raise ConfigError(f"can't group by column {by!r}: the data have {sorted(record.columns)}")
    return str(record.columns[by])


def spread_out(items: Sequence[Any], most: int | None) -> list[Any]:
    if most is None or len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def of_some_prompts(records: Sequence[Any], most: int | None) -> list[Any]:
    """All records of at most so many prompts, evenly spread."""
    some = set(spread_out(list(dict.fromkeys(prompt_key(r.prompt) for r in records)), most))
    return [r for r in records if prompt_key(r.prompt) in some]


def _scores(
    reward: Reward | None, samples: list[tuple[Any, Any]], *, together: int = 1, batch_size: int = 16
) -> Tensor:
    """Scores of (prompt, completion), so many of which in a row share their prompt."""
    if reward is None:
        return torch.zeros(len(samples))
    said = [
        score(reward, prompts=[p for p, _ in part], completions=[c for _, c in part],
              group=[i // together for i in range(len(part))]).values
        for part in (samples[i : i + batch_size] for i in range(0, len(samples), batch_size))
    ]  # fmt: skip
    return torch.cat(said).detach().cpu().float()
