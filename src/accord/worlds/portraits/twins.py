"""The generator's twins: a flow transformer over the same autoencoder, and a few-step consistency LoRA on the U-Net."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LCMScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPTextModelWithProjection

from accord.algorithms.base import PolicyAlgorithm
from accord.engine import Loss, Mean, Rows, Step, generator
from accord.engine.batch import Batch
from accord.feedback import Example
from accord.policies.diffusion import DiffusionPolicy
from accord.worlds.portraits.model import WIDTH


def build_transformer(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=4, out_channels=4, num_layers=4, attention_head_dim=32, num_attention_heads=3,
        joint_attention_dim=2 * WIDTH, caption_projection_dim=96, pooled_projection_dim=2 * WIDTH, pos_embed_max_size=8,
    )  # fmt: skip


def flow_pipeline(transformer: Any, like: Any) -> Any:
    """An SD3-class pipeline over the autoencoder and the text encoder (in both places) of the U-Net's."""
    config = copy.deepcopy(like.text_encoder.config)
    config.projection_dim = WIDTH
    encoder = CLIPTextModelWithProjection(config)
    encoder.text_model.load_state_dict(getattr(like.text_encoder, "text_model", like.text_encoder).state_dict())
    with torch.no_grad():
        encoder.text_projection.weight.copy_(torch.eye(WIDTH))
    like.vae.register_to_config(shift_factor=0.0)  # that class adds it to latents
    return StableDiffusion3Pipeline(transformer, FlowMatchEulerDiscreteScheduler(), like.vae, encoder, like.tokenizer,
                                    encoder, like.tokenizer, None, None)  # fmt: skip


@dataclass(frozen=True)
class Levels(Batch):
    """Noised latents, and at which of the teacher's levels each stands."""

    prompts: list[Any]
    noisy: Float[Tensor, "n c h w"]
    level: list[int]


class Distil(PolicyAlgorithm):
    """Latent consistency distillation (Luo et al. 2023, arXiv 2310.04378) of a policy with LoRA, its base being the teacher.

    ``|f(x_i) - stopgrad f(x_{i+1})|^2``, x_{i+1} one guided DDIM step of the teacher from x_i; at the end f is the picture.

    Args:
        steps: of the teacher's path; the student's few steps are among its levels. guidance: that the student takes over.
    """

    def __init__(self, policy: DiffusionPolicy, *, steps: int = 50, guidance: float = 3.0) -> None:
        super().__init__(policy)
        self.path, self.guidance = policy.schedule(steps), guidance
        self.student = replace(self.path, consistency=True)

    def experience(self, batch: Rows, step: Step) -> Levels:
        g = generator(step.seed, step.number, step.rank, purpose="levels")
        clean = self.policy.pictures.latents([r.completion for r in batch])
        level = torch.randint(len(self.path), (len(batch),), generator=g)
        a, s = (v[level][:, None, None, None] for v in (self.path.alpha, self.path.sigma))
        return Levels([r.prompt for r in batch], a * clean + s * torch.randn(clean.shape, generator=g), level.tolist())

    def forward(self, batch: Levels) -> Loss:
        condition, i = self.policy.condition(batch.prompts), torch.tensor(batch.level)
        with torch.no_grad():
            with self.policy.without_adapter():
                output = self.policy.predict(batch.noisy, self.path.timesteps[i], condition, self.guidance)
            nearer, _ = self.path.step(batch.noisy, output, i, 0.0)
            last = i == len(self.path) - 1
            follow = torch.where(last, i, i + 1)
            after = self.policy.predict(nearer, self.path.timesteps[follow], condition)
            target = torch.where(last[:, None, None, None], nearer, self.student.picture(nearer, after, follow))
        output = self.policy.predict(batch.noisy, self.path.timesteps[i], condition)
        gap = (self.student.picture(batch.noisy, output, i) - target).square().mean((1, 2, 3))
        error = (gap + 1e-6).sqrt() - 1e-3  # pseudo-Huber: far levels must not drown near ones
        return Loss(error.sum(), float(len(batch)), {"error": Mean.of(gap)})


def lcm_scheduler(config: Any, steps: int = 50) -> LCMScheduler:
    """The student's scheduler, on the teacher's path."""
    return LCMScheduler.from_config(config, original_inference_steps=steps)


def examples(latents: Float[Tensor, "m c h w"], texts: Sequence[str], drop: float = 0.1) -> list[Example]:
    """Latents with their prompts, some of which are dropped for guidance."""
    g = generator(0, purpose="dropped")
    dropped = (torch.rand(len(texts), generator=g) < drop).tolist()
    return [
        Example(prompt="" if d else t, completion=x.float()) for x, t, d in zip(latents, texts, dropped, strict=True)
    ]
