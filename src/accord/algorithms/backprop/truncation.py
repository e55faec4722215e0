"""How far back the gradient flows along a chain of denoising steps: rules from which each update draws its own steps."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from accord.errors import ConfigError, wanted


@dataclass(frozen=True)
class Carried:
    """What an update runs of the chain, and where its gradient flows; see `DiffusionPolicy.denoise_with_grad`.

    Attributes:
        steps: by number, those that carry gradient. stop: the last that runs, its clean estimate the picture; None runs to the end.
        cut: whether the others let no gradient pass; else only their predictions are constants.
    """

    steps: tuple[int, ...]
    stop: int | None = None
    cut: bool = True


@dataclass(frozen=True)
class Truncation:
    """A rule: how many steps there are, and a generator, to what is carried; refuses chains that it doesn't fit.

    Attributes:
        name: as command lines and configs spell it.
    """

    name: str
    draw: Callable[[int, torch.Generator], Carried] = field(repr=False, compare=False)

    def __call__(self, steps: int, g: torch.Generator) -> Carried:
        return self.draw(steps, g)

    def __str__(self) -> str:
        return self.name


def last(k: int = 1) -> Truncation:
    """The last k steps (DRaFT-K, arXiv 2309.17400)."""

    def draw(steps: int, g: torch.Generator) -> Carried:
        wanted(1 <= k <= steps, f"last(k) wants between 1 and the {steps} steps that run", k)
        return Carried(tuple(range(steps - k, steps)))

    return Truncation(f"last:{k}", draw)


def full() -> Truncation:
    """All steps."""
    return Truncation("full", lambda steps, g: Carried(tuple(range(steps))))


def random_last() -> Truncation:
    """The last k steps, k uniform from 1 to all (AlignProp, arXiv 2310.03739, as its paper and its code of today have it).

    Before the cut nothing depends on the weights, so that constant predictions and a constant latent are the same."""
    return Truncation(
        "random-last", lambda steps, g: last(int(torch.randint(1, steps + 1, (1,), generator=g)))(steps, g)
    )


def per_step() -> Truncation:
    """Step i of K with probability (i + 1) / (K + 1), and the last in any case (AlignProp's first code, from which its
    published numbers come). A step left out is a constant in its prediction only: the gradient passes it along the latent."""
    return Truncation("per-step", lambda steps, g: Carried(kept_steps(steps, g), cut=False))


def kept_steps(steps: int, g: torch.Generator) -> tuple[int, ...]:
    """Which steps keep their gradient in AlignProp's code: i where ``i >= m_i``, m_i uniform on 0 … K; the last always."""
    drawn = torch.randint(0, steps + 1, (steps,), generator=g)
    return tuple(sorted({*(torch.arange(steps) >= drawn).nonzero()[:, 0].tolist(), steps - 1}))


def stop_within(first: int, final: int, carry: Truncation | str = last(1)) -> Truncation:
    """Stop at a random step from `first` to `final` and take the clean picture that it predicts (ReFL, arXiv 2304.05977).

    Args:
        first, final: numbers of steps, from 0; below 0 they count from the end, -1 being the last.
        carry: what carries gradient of the steps that run then.
    """
    inner = truncation_of(carry)

    def draw(steps: int, g: torch.Generator) -> Carried:
        low, high = (n + steps if n < 0 else n for n in (first, final))
        if not 0 <= low <= high < steps:
            what = f"the last {-first}" if final == -1 else f"steps {first} to {final}"
            raise ConfigError(f"can't stop within {what} of {steps} steps")
        inner(low + 1, torch.Generator())  # that it fits the shortest chain too
        stop = int(torch.randint(low, high + 1, (1,), generator=g))
        return replace(inner(stop + 1, g), stop=stop)

    return Truncation(f"stop-within:{first}:{final}" + ("" if inner == last(1) else f":{inner}"), draw)


def truncation_of(said: Truncation | str) -> Truncation:
    """A rule itself, or the one of a spelling: "last:3", "full", "random-last", "per-step", "stop-within:-10:-1".

    Raises:
        ConfigError: it is no such spelling.
    """
    if isinstance(said, Truncation):
        return said
    try:
        match str(said).split(":"):
            case ["last", k]:
                return last(int(k))
            case ["full"]:
                return full()
            case ["random-last"]:
                return random_last()
            case ["per-step"]:
                return per_step()
            case ["stop-within", first, final, *carry]:
                return stop_within(int(first), int(final), ":".join(carry) or last())
    except ValueError:
        pass
    raise ConfigError(f"truncation={said!r} is none of last:K, full, random-last, per-step, stop-within:FIRST:FINAL")
