"""A tiny pipeline of every family, of the real classes from a config, with tokenizers made on the spot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import diffusers as d
import torch
import transformers as t
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor

import tiny_pipelines
from accord.policies.diffusion import DiffusionPolicy
from accord.policies.diffusion.families import Size, packed
from tiny_pipelines import WORDS, text_config, vae
from tiny_pipelines import tokenizer as clip_tokenizer


@dataclass(frozen=True)
class Tiny:
    """How a family's tiny pipeline is made, and how its own `__call__` is asked for what a policy draws.

    Attributes:
        size: of its pictures. steps: of a sample; 1 where steps draw noise between them.
        guided: the arguments by which it is guided as strongly. noise: latents as it takes them. more: further arguments.
    """

    build: Callable[[], Any]
    size: Size = 16
    steps: int = 3
    guided: Callable[[Any], dict[str, Any]] = lambda g: {"guidance_scale": g}
    noise: Callable[[Tensor], Tensor] = lambda x: x
    more: dict[str, Any] = field(default_factory=dict)

    def own(self, p: DiffusionPolicy, prompts: list[str], guidance: Any, start: Tensor) -> Tensor:
        """What the pipeline itself makes of this noise."""
        sides = dict(zip(("width", "height", "num_frames"), reversed(p.family.sides), strict=False))
        p.pipeline.set_progress_bar_config(disable=True)
        made = p.pipeline(prompt=prompts, num_inference_steps=self.steps, latents=self.noise(start.clone()), output_type="pt",
                          **self.guided(guidance), **sides, **self.more)  # fmt: skip
        return made.frames if hasattr(made, "frames") else made.images


def tokenizer(**more: Any) -> t.PreTrainedTokenizerFast:
    """Words and marks as tokens, in one token each what it knows."""
    names = ["<pad>", "</s>", "<unk>", "\n", "<|im_start|>", "<|im_end|>", "user", "assistant", "system", *WORDS]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|<\|\w+\|>|\w+|[^\w\s]"), "removed", invert=True)
    return t.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **more
    )


CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
TEXT = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
        "max_position_embeddings": 1024}  # fmt: skip
MOMENTS = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.2, 0.8, 1.0, 1.5]}


def lcm() -> Any:
    torch.manual_seed(0)
    like = tiny_pipelines.pipeline("sd")
    unet = tiny_pipelines.unet(time_cond_proj_dim=8)
    scheduler = d.LCMScheduler.from_config(like.scheduler.config)
    return d.LatentConsistencyModelPipeline(like.vae, like.text_encoder, like.tokenizer, unet, scheduler, None, None, requires_safety_checker=False)  # fmt: skip


def t5() -> t.T5EncoderModel:
    return t.T5EncoderModel(t.T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2))


def flux(dev: bool = True) -> Any:
    transformer = d.FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=16,
        pooled_projection_dim=16, axes_dims_rope=(2, 2, 4), guidance_embeds=dev)  # fmt: skip
    scheduler = d.FlowMatchEulerDiscreteScheduler(shift=3.0 if dev else 1.0, use_dynamic_shifting=dev)
    clip = t.CLIPTextModel(text_config())
    return d.FluxPipeline(scheduler, vae(0.06), clip, clip_tokenizer(), t5(), tokenizer(), transformer)


def flux2(distilled: bool) -> Any:
    transformer = d.Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=24,
        timestep_guidance_channels=16, axes_dims_rope=(2, 2, 2, 2), guidance_embeds=False)  # fmt: skip
    ae = d.AutoencoderKLFlux2(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4,
                              up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, layers_per_block=1)  # fmt: skip
    ae.bn.running_mean.normal_()
    ae.bn.running_var.uniform_(0.5, 2.0)
    words = t.Qwen3ForCausalLM(t.Qwen3Config(**{**TEXT, "hidden_size": 8, "head_dim": 4}, num_hidden_layers=27))
    return d.Flux2KleinPipeline(d.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), ae, words, tokenizer(chat_template=CHAT),
                                transformer, is_distilled=distilled)  # fmt: skip


def qwen_image() -> Any:
    transformer = d.QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2, joint_attention_dim=16,
        axes_dims_rope=(2, 2, 4))  # fmt: skip
    ae = d.AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[False], **MOMENTS
    )
    text = {
        **TEXT,
        "num_hidden_layers": 1,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
    }
    sight = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    reader = t.Qwen2_5_VLForConditionalGeneration(t.Qwen2_5_VLConfig(text_config=text, vision_config=sight))
    scheduler = d.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02)
    return d.QwenImagePipeline(scheduler, ae, reader, tokenizer(), transformer)


def z_image() -> Any:
    transformer = d.ZImageTransformer2DModel(
        in_channels=4, dim=16, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16, axes_dims=[4, 2, 2],
        axes_lens=[256, 32, 32])  # fmt: skip
    words = t.Qwen3Model(t.Qwen3Config(**TEXT, num_hidden_layers=2))
    return d.ZImagePipeline(
        d.FlowMatchEulerDiscreteScheduler(shift=3.0), vae(0.06), words, tokenizer(chat_template=CHAT), transformer
    )


def sana() -> Any:
    transformer = d.SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4, num_cross_attention_heads=2,
        cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=16, sample_size=16)  # fmt: skip
    blocks, multi = ("ResBlock",) * 2, ((), ())
    ae = d.AutoencoderDC(
        latent_channels=4, attention_head_dim=2, encoder_block_types=blocks, decoder_block_types=blocks,
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=multi,
        decoder_qkv_multiscales=multi, encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
        downsample_block_type="conv", upsample_block_type="interpolate", scaling_factor=0.41407)  # fmt: skip
    ae.decoder.conv_out.weight.data *= 0.1  # its pictures stay within [0, 1], where a clamp does nothing
    scheduler = d.DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, solver_order=1
    )
    return d.SanaPipeline(
        tokenizer(), t.Gemma2Model(t.Gemma2Config(**TEXT, num_hidden_layers=1)), ae, transformer, scheduler
    )


def pixart() -> Any:
    transformer = d.PixArtTransformer2DModel(
        sample_size=8, num_layers=1, attention_head_dim=8, num_attention_heads=2, caption_channels=16, in_channels=4,
        cross_attention_dim=16, out_channels=8)  # fmt: skip
    return d.PixArtSigmaPipeline(tokenizer(), t5(), vae(), transformer, d.DDIMScheduler(clip_sample=False))


def wan(two: bool = False) -> Any:
    first, *second = [d.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=16, freq_dim=16, ffn_dim=32,
        num_layers=1, rope_max_seq_len=32) for _ in range(1 + two)]  # fmt: skip
    ae = d.AutoencoderKLWan(base_dim=8, z_dim=4, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[True], scale_factor_temporal=2,
                            scale_factor_spatial=2, **MOMENTS)  # fmt: skip
    words = t.UMT5EncoderModel(t.UMT5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    scheduler = d.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, solver_order=1,
                                          disable_corrector=list(range(9)))  # fmt: skip
    return d.WanPipeline(tokenizer(), words, ae, scheduler, first, *second, boundary_ratio=0.8 if two else None)


def each(guidance: float | tuple[float, float]) -> dict[str, float]:
    """Of two denoisers: a scale for both, or for each."""
    names = ("guidance_scale", "guidance_scale_2")
    return dict(zip(names, guidance if isinstance(guidance, tuple) else (guidance,), strict=False))


TINY = {
    "sd": Tiny(lambda: tiny_pipelines.pipeline("sd")),
    "sd-lcm": Tiny(lcm, steps=1),
    "sdxl": Tiny(lambda: tiny_pipelines.pipeline("sdxl")),
    "sd3": Tiny(lambda: tiny_pipelines.pipeline("sd3")),
    "flux-dev": Tiny(flux, noise=packed),
    "flux-schnell": Tiny(lambda: flux(dev=False), noise=packed),
    "flux2-klein": Tiny(lambda: flux2(distilled=False)),
    "flux2-klein-distilled": Tiny(lambda: flux2(distilled=True)),
    "qwen-image": Tiny(qwen_image, noise=packed, guided=lambda g: {"true_cfg_scale": g, "negative_prompt": [" "] * 2}),
    "z-image": Tiny(z_image, guided=lambda g: {"guidance_scale": g - 1}),
    "sana": Tiny(sana, size=32, more={"use_resolution_binning": False}),
    "pixart": Tiny(pixart, more={"use_resolution_binning": False}),
    "wan": Tiny(wan, size=(3, 16, 16)),
    "wan-two": Tiny(lambda: wan(two=True), size=(3, 16, 16), guided=each),
}


WITHOUT_LORA = ("pixart",)
TWINS = ("sd-lcm", "flux-schnell", "flux2-klein-distilled")
"""Distilled ones, whose weights and files are those of their family."""


def pipeline(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return TINY[name].build()


@cache
def folder(name: str, where: str) -> Path:
    path = Path(where) / name
    pipeline(name).save_pretrained(path)
    return path


def policy(name: str, *, lora: int | None = None) -> DiffusionPolicy:
    """With a LoRA of this rank, where diffusers knows LoRA for its denoiser."""
    made = DiffusionPolicy(pipeline(name), name, size=TINY[name].size)
    if lora and name not in WITHOUT_LORA:
        made.add_lora(lora)
    return made


def picture(p: DiffusionPolicy, seed: int) -> Tensor:
    """Of the size that it draws; a clip, if it draws clips."""
    sides = p.family.sides
    shape = (3, *sides) if len(sides) == 2 else (sides[0], 3, *sides[1:])
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))
