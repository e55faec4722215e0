"""What all networks that score pictures share: how they are called, where they compute, what their words are."""

import hashlib
import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from accord.engine.store import fingerprint
from accord.feedback import text_of
from accord.policies.diffusion import as_picture
from accord.policies.meter import count_call
from accord.policies.placement import beside
from accord.rewards.pictures.preprocessing import Preprocessing
from accord.rewards.scores import Scores

log = logging.getLogger(__name__)


class PictureReward:
    """A frozen network as a reward of pictures, with gradient in their pixels; a subclass says what their `values` are.

    It follows pictures in memory to their device; those in files come to it.
    """

    def __init__(self, network: nn.Module, see: Preprocessing, words: "Words | None" = None) -> None:
        self.network, self.see, self.words = network, see, words

    @cached_property
    def fingerprint(self) -> str:
        return f"{type(self).__name__}:{fingerprint(self.network)}:{self.see}:{self.words and self.words.fingerprint}"

    def __call__(self, *, prompts: Sequence[Any], completions: Any, **columns: Any) -> Scores:
        images = self.see_all(completions)
        beside(self.network, images)
        texts = [text_of(p) for p in prompts]
        count_call(self.network, lambda: self.values(images, texts), len(images), tuple(images.shape[1:]),
                   backward=images.requires_grad)  # fmt: skip
        return Scores.of(self.values(images, texts).float())

    def values(self, images: Float[Tensor, "n 3 h w"], texts: Sequence[str]) -> Float[Tensor, "n"]:
        """Of pictures as the network reads them."""
        raise NotImplementedError

    def see_all(self, completions: Any) -> Float[Tensor, "n 3 h w"]:
        """Pictures of any sizes, or their files, as the network reads them."""
        return seen(completions, self.see, next(self.network.parameters()).device)


def seen(pictures: Any, see: Preprocessing, home: torch.device) -> Float[Tensor, "n 3 h w"]:
    """Pictures prepared for a network, those of one size together; tensors where they are, files and PIL pictures at its home."""
    found = [as_picture(p) if isinstance(p, Tensor) else as_picture(p).to(home) for p in pictures]
    if len({p.shape for p in found}) == 1:
        return see(torch.stack(found))
    return torch.cat([see(p[None]) for p in found])


class Words:
    """Texts as tokens for a text encoder, all at its full length; what is cut off is said once."""

    def __init__(self, tokenizer: Any, length: int) -> None:
        self.tokenizer, self.length, self._said = tokenizer, length, False

    @property
    def fingerprint(self) -> str:
        """Of what it makes of texts."""
        made = f"{type(self.tokenizer).__name__}:{self.length}:{sorted(self.tokenizer.get_vocab().items())}"
        return hashlib.blake2b(made.encode(), digest_size=16).hexdigest()

    def __call__(self, texts: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        told = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )
        cut = sum(bool(e.overflowing) for e in told.encodings or [])
        if cut and not self._said:
            log.warning("%d of %d prompts are longer than the %d tokens that the reward reads: their ends don't count", cut,
                        len(texts), self.length)  # fmt: skip
            self._said = True
        return {name: told[name].to(device) for name in ("input_ids", "attention_mask") if name in told}
