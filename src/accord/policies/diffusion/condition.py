"""What a prompt becomes for a denoiser: embeddings, by the pipeline's own text encoders."""

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.batch import Batch
from accord.errors import ModelError
from accord.policies.diffusion.attention import Repeated

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Condition(Batch):
    """Keyword tensors for the denoiser, one row a prompt; `added` are those of SDXL's time embedding.

    Attributes:
        vectors: of the prompts' pictures, for an image adapter.
    """

    tensors: dict[str, Tensor]
    added: dict[str, Tensor]
    vectors: Float[Tensor, "n d"] | None = None

    def arguments(self) -> dict[str, Any]:
        return {**self.tensors, **({"added_cond_kwargs": self.added} if self.added else {})}


def encode(pipeline: Any, prompts: Sequence[str]) -> Condition:
    """Embeddings of prompts, as the pipeline itself would make them.

    Raises:
        ModelError: a pipeline of another family.
    """
    kind, texts, device = type(pipeline).__name__, list(prompts), pipeline.text_encoder.device
    _tell_what_is_cut(pipeline, texts)
    if kind.startswith("StableDiffusionXL"):
        embeds, _, pooled, _ = pipeline.encode_prompt(texts, device=device, do_classifier_free_guidance=False)
        side = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        ids = torch.tensor([[side, side, 0, 0, side, side]], dtype=embeds.dtype, device=device).repeat(len(texts), 1)
        if pipeline.config.get("force_zeros_for_empty_prompt"):
            asked = torch.tensor([bool(t) for t in texts], dtype=embeds.dtype, device=device)
            embeds, pooled = embeds * asked[:, None, None], pooled * asked[:, None]
        return Condition({"encoder_hidden_states": embeds}, {"text_embeds": pooled, "time_ids": ids})
    if kind.startswith("StableDiffusion3"):
        embeds, _, pooled, _ = pipeline.encode_prompt(
            texts, None, None, device=device, do_classifier_free_guidance=False
        )
        if (blank := blanks(pipeline)) is not None:
            embeds = embeds[:, : blank.length]
        return Condition({"encoder_hidden_states": embeds, "pooled_projections": pooled}, {})
    if kind.startswith(("StableDiffusion", "LatentConsistency")):
        embeds, _ = pipeline.encode_prompt(texts, device, 1, False)
        return Condition({"encoder_hidden_states": embeds}, {})
    raise ModelError(f"{kind} is not one of the pipelines that can be trained here: Stable Diffusion 1, 2, XL or 3")


def _tell_what_is_cut(pipeline: Any, texts: Sequence[str]) -> None:
    """A line for every prompt of which no text encoder sees the end."""
    tokenizers = [
        t for n in ("tokenizer", "tokenizer_2", "tokenizer_3") if (t := getattr(pipeline, n, None)) is not None
    ]
    for text in texts:
        sizes = [(len(t(text, verbose=False).input_ids), t.model_max_length) for t in tokenizers]
        if all(size > limit for size, limit in sizes):
            size, limit = max(sizes, key=lambda s: s[1])
            log.warning(
                "the text encoder reads %d tokens, but the prompt %r has %d: its end is not seen",
                limit,
                text[:40],
                size,
            )


def blanks(pipeline: Any) -> Repeated | None:
    """Stable Diffusion 3 without its largest text encoder sees zeros in that one's place. They stay equal to each other
    in every layer (words have no positions there), so one of them is enough; None for other pipelines."""
    if not type(pipeline).__name__.startswith("StableDiffusion3") or pipeline.text_encoder_3 is not None:
        return None
    times = inspect.signature(pipeline.encode_prompt).parameters["max_sequence_length"].default
    return Repeated(pipeline.tokenizer_max_length + 1, times - 1)
