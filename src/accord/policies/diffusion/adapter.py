"""Image adapter: pictures in the prompt steer a denoiser through attention of their own (IP-Adapter, arXiv 2308.06721)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from accord.engine.memory import ran_out
from accord.engine.run import save_tensors
from accord.errors import ConfigError, ModelError
from accord.feedback import picture_key
from accord.policies.diffusion.attention import AttentionHook, Heads, Layer, hook, layers
from accord.policies.diffusion.pictures import as_picture
from accord.policies.placement import beside

Encoder = Callable[[Float[Tensor, "n 3 h w"]], tuple[Float[Tensor, "n d"], Any]]
"""Vectors of pictures, and in which of them there was something to describe (a face)."""


class ImageAdapter(nn.Module, AttentionHook):
    """``out + scale * Attention(q, W_k c, W_v c)`` in every layer that sees the prompt, c being tokens made of a picture's vector.

    Values start at zero, so a new adapter changes nothing. A prompt without a picture has the zero vector.

    Args:
        encoder: frozen; describes a picture by a vector (an identity encoder, for faces).
        size: of that vector. tokens: made of it.
    """

    _encoder: Encoder

    def __init__(self, denoiser: Any, encoder: Encoder, size: int, *, tokens: int = 4, scale: float = 1.0) -> None:
        from diffusers.models.embeddings import IPAdapterFaceIDImageProjection

        super().__init__()
        # No part of this module: it goes to the pictures that it reads, and keeps its own precision.
        object.__setattr__(self, "_encoder", encoder)
        self.size, self.scale = size, scale
        seeing = {n: m for n, (layer, m) in layers(denoiser).items() if layer.kind != "self"}
        if not seeing:
            raise ModelError(f"{type(denoiser).__name__} has no layer that sees the prompt: nothing to adapt")
        config = denoiser.config
        width = getattr(config, "cross_attention_dim", None) or config.joint_attention_dim
        self.project = IPAdapterFaceIDImageProjection(size, width, mult=2, num_tokens=tokens)
        self.places = {name: str(i) for i, name in enumerate(seeing)}
        self.keys = nn.ModuleDict(
            {i: nn.Linear(width, seeing[n].inner_dim, bias=False) for n, i in self.places.items()}
        )
        self.values = nn.ModuleDict(
            {i: nn.Linear(width, seeing[n].inner_dim, bias=False) for n, i in self.places.items()}
        )
        for linear in self.values.values():
            nn.init.zeros_(linear.weight)  # type: ignore[arg-type]
        self._vectors: dict[str, Tensor] = {}
        self._tokens: Tensor | None = None
        self.to(next(denoiser.parameters()).device)
        hook(denoiser, self)

    @torch.no_grad()
    def vector(self, pictures: Sequence[Any]) -> Float[Tensor, "d"]:
        """The mean vector of a prompt's pictures (or vectors already), zero without any.

        Raises:
            ConfigError: the encoder finds nothing in one of them.
        """
        device = next(self.parameters()).device
        found = []
        for picture in pictures:
            if isinstance(picture, Tensor) and picture.ndim == 1:
                found.append(picture.cpu())
                continue
            key = picture_key(picture)
            if key not in self._vectors:
                shown = as_picture(picture)[None].to(device)
                vectors, there = beside(self._encoder, shown)(shown)
                if not bool(torch.as_tensor(there).all()):
                    raise ConfigError("no face was found in a prompt's picture: take a larger or more frontal one")
                self._vectors[key] = vectors[0].float().cpu()
            found.append(self._vectors[key])
        return torch.stack(found).mean(0).to(device) if found else torch.zeros(self.size, device=device)

    @contextmanager
    def given(self, vectors: Float[Tensor, "n d"]) -> Iterator[None]:
        """Attention sees these pictures inside, row by row."""
        self._tokens = self.project(vectors.to(next(self.project.parameters()).dtype))
        try:
            yield
        finally:
            self._tokens = None

    def output(self, layer: Layer, queries: Heads, out: Heads) -> Heads:
        if self._tokens is None or layer.name not in self.places or self.scale == 0:
            return out
        place, heads = self.places[layer.name], queries.shape[1]
        k, v = (f[place](self._tokens).unflatten(-1, (heads, -1)).transpose(1, 2) for f in (self.keys, self.values))
        return out + self.scale * scaled_dot_product_attention(queries.to(k.dtype), k, v).to(out.dtype)

    def save(self, file: str | Path) -> None:
        """Write what `pipe.load_ip_adapter` reads (of a U-Net): the layout of IP-Adapter FaceID."""
        state = {
            f"image_proj.{_THEIRS.get(k.rsplit('.', 1)[0], k.rsplit('.', 1)[0])}.{k.rsplit('.', 1)[1]}": v
            for k, v in self.project.state_dict().items()
        }
        for i in self.places.values():
            state[f"ip_adapter.{2 * int(i) + 1}.to_k_ip.weight"] = self.keys[i].weight
            state[f"ip_adapter.{2 * int(i) + 1}.to_v_ip.weight"] = self.values[i].weight
        save_tensors(Path(file), {k: v.detach().contiguous() for k, v in state.items()})

    def load(self, file: str | Path) -> None:
        """Take weights that `save` wrote.

        Raises:
            ModelError: they belong to an adapter of another shape.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            found = load_file(file)
            ours = {v: k for k, v in _THEIRS.items()}
            parts = {k.removeprefix("image_proj."): v for k, v in found.items() if k.startswith("image_proj.")}
            self.project.load_state_dict(
                {
                    f"{ours.get(k.rsplit('.', 1)[0], k.rsplit('.', 1)[0])}.{k.rsplit('.', 1)[1]}": v
                    for k, v in parts.items()
                }
            )
            for i in self.places.values():
                for table, name in ((self.keys, "k"), (self.values, "v")):
                    table[i].load_state_dict({"weight": found[f"ip_adapter.{2 * int(i) + 1}.to_{name}_ip.weight"]})
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            if ran_out(error):
                raise
            raise ModelError(f"{file} holds no adapter for this denoiser: {str(error).splitlines()[0]}") from error


_THEIRS = {"ff.net.0.proj": "proj.0", "ff.net.2": "proj.2"}
"""Names of the projection's layers in IP-Adapter's files."""
