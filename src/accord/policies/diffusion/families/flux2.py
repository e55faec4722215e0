"""FLUX.2 klein (Black Forest Labs 2026), distilled or not."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from accord.policies.diffusion.condition import Condition
from accord.policies.diffusion.families.family import Latent
from accord.policies.diffusion.families.shifted import Shifted


class Flux2Klein(Shifted):
    """A flow over latents that already are squares of two by two, beside what three layers of a language model make of the
    prompt; half of its transformer has one projection for all that attention and its own layers take in."""

    name = "FLUX.2 klein"
    pipelines = frozenset({"Flux2KleinPipeline"})
    targets = (*Shifted.targets, "to_qkv_mlp_proj")

    @property
    def patch(self) -> int:
        return 1

    @property
    def natural(self) -> tuple[int, ...]:
        return (self.pipeline.default_sample_size * self.pipeline.vae_scale_factor,) * 2

    @property
    def scale(self) -> int:
        return 2 * super().scale

    def scaled(self, z: Latent) -> Latent:
        n, c, h, w = z.shape
        squares = z.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)
        mean, deviation = self._moments(z)
        return (squares - mean) / deviation

    def unscaled(self, x: Latent) -> Latent:
        mean, deviation = self._moments(x)
        n, c, h, w = x.shape
        squares = (x * deviation + mean).reshape(n, c // 4, 2, 2, h, w)
        return squares.permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)

    def _moments(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel, of which the autoencoder has kept account."""
        vae = self.pipeline.vae
        deviation = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps)
        return vae.bn.running_mean.to(like).reshape(1, -1, 1, 1), deviation.to(like).reshape(1, -1, 1, 1)

    def encode(self, texts: Sequence[str]) -> list[Condition]:
        words, _ = self.pipeline.encode_prompt(list(texts), self.pipeline.text_encoder.device)
        return Condition({"encoder_hidden_states": words}).rows()

    @property
    def guidance(self) -> Literal["true", "none"]:
        return "none" if self.pipeline.config.is_distilled else "true"

    def told(self, x: Latent, t: Tensor, condition: Condition, guidance: float) -> dict[str, Any]:
        height, width = x.shape[-2:]
        words = condition.tensors["encoder_hidden_states"].shape[1]
        return {"hidden_states": x.flatten(2).mT, "timestep": t / 1000, "guidance": None, **condition.tensors,
                "img_ids": _grid(len(x), (1, height, width, 1), x.device), "txt_ids": _grid(len(x), (1, 1, 1, words), x.device)}  # fmt: skip

    def heard(self, output: Any) -> Latent:
        return output.float().mT.unflatten(2, self.shape[-2:])

    def mu(self, steps: int) -> float:
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        return float(compute_empirical_mu(self.tokens, steps))


def _grid(rows: int, sides: tuple[int, ...], device: torch.device) -> Tensor:
    """Every token's place in time, height, width and text."""
    places = torch.cartesian_prod(*(torch.arange(s, device=device) for s in sides))
    return places.expand(rows, -1, -1)
