"""Rewards that methods may use on portraits: trained readers, each with its own blind spots. None knows the gold."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from accord.feedback import text_of
from accord.rewards import Scores
from accord.worlds.portraits.model import WEIGHTS
from accord.worlds.portraits.people import ATTRIBUTES
from accord.worlds.portraits.prompts import Wish, read_prompt
from accord.worlds.portraits.readers import Reader, read_people, residual


def _reader(name: str, images: Tensor) -> Reader:
    """One of the trained readers, where these pictures lie."""
    return _loaded(name, images.device)


@lru_cache(maxsize=8)
def _loaded(name: str, device: torch.device) -> Reader:
    return Reader.load(name, WEIGHTS).to(device)


class PortraitFaces:
    """The world's identity encoder: a face encoder with gradient, trained with an angular margin."""

    differentiable = True
    size = 64

    def __call__(self, images: Float[Tensor, "n 3 64 64"]) -> tuple[Float[Tensor, "n 64"], Bool[Tensor, "n"]]:
        vectors = normalize(_reader("identity", images)(images)["identity"], dim=-1)
        return vectors, torch.ones(len(images), dtype=torch.bool, device=images.device)


def read_attributes(images: Float[Tensor, "n 3 64 64"]) -> dict[str, Float[Tensor, "n v"]]:
    """Log-probabilities of every attribute's values, by the world's attribute reader; with gradient."""
    return {a: v.log_softmax(-1) for a, v in _reader("attributes", images)(images).items()}


class PromptReader:
    """``mean_w p_w``, the probability of what each wish of a prompt allows, as the attribute reader sees the picture; with gradient.

    A prompt without wishes has nothing to fulfil: it does not apply.

    Args:
        temperature: divides the log-odds of p. The reader is very sure of what it sees; at 4 most of its words lie between 0.05
            and 0.95. So a lost wish still pulls, though less than an open one, and a fulfilled one asks for little more.
    """

    def __init__(self, temperature: float = 4.0) -> None:
        self.temperature = temperature

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        images = stacked(completions)
        found = read_attributes(images)
        values, valid = [], []
        for i, prompt in enumerate(prompts):
            wishes = read_prompt(text_of(prompt))
            odds = torch.stack([_odds(found[w.attribute][i], w) for w in wishes]) if wishes else images.new_zeros(1)
            values.append((odds / self.temperature).sigmoid().mean())
            valid.append(bool(wishes))
        return Scores(torch.stack(values), torch.tensor(valid, device=images.device))


def _odds(logits: Float[Tensor, "v"], wish: Wish) -> Float[Tensor, ""]:
    """Log-odds of what a wish allows."""
    values = ATTRIBUTES[wish.attribute]
    yes, no = ([i for i, v in enumerate(values) if (v in wish.allowed) == want] for want in (True, False))
    return logits[yes].logsumexp(-1) - logits[no].logsumexp(-1)


class Structure:
    """``-scale * residual``: how far a picture is from its own description drawn again, as a reader of plain renders describes it.

    Args:
        scale: at 40, plain reconstructions lie at -0.6 and pictures whose parts slipped by three pixels at -2.6.
    """

    def __init__(self, scale: float = 40.0) -> None:
        self.scale = scale

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        images = stacked(completions)
        return Scores.of(-self.scale * residual(images, read_people(_reader("teacher", images), images)))


class Looks:
    """``log s(structure) + log s(appeal)``: how likely a sound picture is worse than this one, in structure (nothing slipped out
    of place) and in appeal (no blur, noise or colour cast), learned from spoilt renders. At most 0: raw scores have no end to
    climb to, and a generator that follows their gradient leaves all portraits behind.
    """

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        images = stacked(completions)
        found = _reader("looks", images)(images)
        aspects = {name: logsigmoid(found[name][:, 0]) for name in ("structure", "appeal")}
        return Scores.of(aspects["structure"] + aspects["appeal"], aspects=aspects)


def stacked(completions: Any) -> Float[Tensor, "n 3 h w"]:
    """Pictures as one tensor."""
    return completions if isinstance(completions, Tensor) else torch.stack(list(completions))
