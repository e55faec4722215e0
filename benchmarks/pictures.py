"""One side of a picture benchmark in a process of its own: ``pictures.py WORK SIDE FOLDER`` prints seconds and peak memory as JSON.

The peer's side is run by a Python that has TRL 0.23.1, the last with trainers for diffusion, and never imports accord.
"""

import itertools
import json
import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

ROWS: dict[str, Any] = json.loads((Path(__file__).parent / "rows.json").read_text())["pictures"]
BATCH, STEPS, GUIDANCE, RUNS = ROWS["batch"], ROWS["steps"], ROWS["guidance"], ROWS["runs"]
ASKED = ["a person smiling", "a person with glasses", "somebody in a red shirt", "a portrait of a person", "a face",
         "a person in a blue hat", "a person looking sad", "a picture of a person"]  # fmt: skip
PROMPTS = [ASKED[i % len(ASKED)] for i in range(BATCH)]


def contrast(images: torch.Tensor) -> torch.Tensor:
    """Left half brighter than the right: a differentiable reward that costs nothing."""
    half = images.shape[-1] // 2
    return images[..., :half].mean((1, 2, 3)) - images[..., half:].mean((1, 2, 3))


def noise(folder: Path, rows: int = BATCH) -> torch.Tensor:
    side = json.loads((folder / "unet" / "config.json").read_text())["sample_size"]
    return torch.randn(rows, 4, side, side, generator=torch.Generator().manual_seed(0))


def timed(step: Callable[[], Any]) -> list[float]:
    seconds = []
    for _ in range(RUNS + 1):  # the first one warms up
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


# accord's side


def ours_policy(folder: Path) -> Any:
    from accord import DiffusionPolicy

    torch.manual_seed(0)
    return DiffusionPolicy.load(folder, lora=4)


def ours_fit(algorithm: Any, data: list[Any], **more: Any) -> list[float]:
    """Seconds of whole steps, the first left out."""
    from accord import fit

    run = fit(algorithm, data, steps=RUNS + 1, batch_size=BATCH, lr=3e-4, progress=False, **more)
    return run.column("seconds")[1:]


def ours_backprop(folder: Path) -> dict[str, Any]:
    from accord.algorithms.backprop import AlignProp, last
    from accord.policies.diffusion import Denoising

    policy = ours_policy(folder)
    sampling = Denoising(steps=STEPS, guidance=GUIDANCE, eta=0.0)
    with torch.no_grad():
        values = contrast(policy.denoise_with_grad(PROMPTS, sampling, grad=1, start=noise(folder)))
    algorithm = AlignProp(policy, lambda *, prompts, completions, **_: contrast(completions), sampling=sampling,
                          truncation=last(ROWS["grad"]))  # fmt: skip
    return {"seconds": ours_fit(algorithm, PROMPTS), "logprobs": values.tolist()}


def ours_ddpo(folder: Path, at_once: int = BATCH) -> dict[str, Any]:
    from accord.algorithms import DDPO
    from accord.policies.diffusion import Denoising

    policy = ours_policy(folder)
    plain = Denoising(steps=STEPS, guidance=GUIDANCE, eta=0.0)
    drawn = policy.sample(PROMPTS, 1, plain, start=noise(folder)).completions
    sampling = Denoising(steps=STEPS, guidance=GUIDANCE, eta=1.0, average=True)
    algorithm = DDPO(policy, lambda *, prompts, completions, **_: contrast(torch.stack(list(completions))), sampling=sampling,
                     steps_at_once=ROWS["steps_at_once"])  # fmt: skip
    return {
        "seconds": ours_fit(algorithm, PROMPTS, micro_batch_size=at_once),
        "logprobs": contrast(torch.stack(drawn)).tolist(),
    }


def ours_memory(folder: Path, k: int, *, recompute: bool) -> dict[str, Any]:
    from accord.policies.diffusion import Denoising

    policy = ours_policy(folder)
    sampling = Denoising(steps=STEPS, guidance=1.0, eta=0.0)

    def step() -> None:
        images = policy.denoise_with_grad(ASKED * 2, sampling, grad=k, recompute=recompute)
        contrast(images).sum().backward()

    with torch.no_grad():
        policy.sample(ASKED * 2, 1, sampling)  # what sampling alone takes is there before
    before = peak()
    seconds = timed(step)
    return {"seconds": seconds, "before_mb": before}


def ours_world(folder: Path) -> dict[str, Any]:
    """What one step of the portraits world takes: 16 rows through its U-Net and its decoder and back, 32 whole samples."""
    from accord import DiffusionPolicy
    from accord.policies.diffusion import Denoising

    policy = DiffusionPolicy.load(folder)
    rows = policy.condition(ASKED * 2)

    def unet() -> None:
        policy.predict(noise(folder, 16), 500.0, rows).square().mean().backward()

    def decoder() -> None:
        policy.pictures.decode(noise(folder, 16).requires_grad_()).mean().backward()

    def sample() -> None:
        policy.sample(ASKED * 4, 1, Denoising(steps=20, guidance=GUIDANCE))

    found = {step.__name__: statistics.median(timed(step)) for step in (unet, decoder, sample)}
    return {"seconds": list(found.values()), "parts": found}


def ours_dpo(folder: Path) -> dict[str, Any]:
    from accord.algorithms import DiffusionDPO
    from accord.engine import Rows, Step
    from accord.feedback import Comparison
    from accord.policies.diffusion.actions import Draw

    policy = ours_policy(folder)
    latents, levels, drawn = pairs(folder)
    draw = Draw((levels + 0.5) / 1000, drawn[:, None])
    algorithm = DiffusionDPO(policy, lambda *_: draw, beta=ROWS["dpo_beta"])
    rows = Rows(Comparison(prompt=p, chosen=w, rejected=r) for p, w, r in zip(PROMPTS, *latents, strict=True))
    weights = [w for w in policy.parameters() if w.requires_grad]
    with torch.no_grad():
        for i, w in enumerate(weights):
            w.add_(0.02 * torch.randn(w.shape, generator=torch.Generator().manual_seed(i)))
        value = float(algorithm(algorithm.experience(rows, Step(0, 0))).sum) / BATCH

    def step() -> None:
        algorithm(algorithm.experience(rows, Step(0, 0))).sum.backward()

    return {"seconds": timed(step), "logprobs": [value]}


def pairs(folder: Path) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(7)
    chosen, rejected, drawn = (torch.randn(noise(folder).shape, generator=g) for _ in range(3))
    return (chosen, rejected), torch.randint(0, 1000, (BATCH,), generator=g), drawn


# The peer's side


def peer_pipeline(folder: Path) -> Any:
    from accelerate import PartialState
    from trl import DefaultDDPOStableDiffusionPipeline

    PartialState()
    torch.manual_seed(0)
    return DefaultDDPOStableDiffusionPipeline(str(folder), use_lora=True)


_NEXT = itertools.cycle(PROMPTS)


def prompt() -> tuple[str, dict[str, Any]]:
    return next(_NEXT), {}


def peer_values(pipe: Any, folder: Path) -> list[float]:
    """Rewards of a deterministic sample from the common noise."""
    inner = pipe.sd_pipeline
    inner.set_progress_bar_config(disable=True)
    with torch.no_grad():
        images = inner(
            PROMPTS, num_inference_steps=STEPS, guidance_scale=GUIDANCE, latents=noise(folder), output_type="pt"
        ).images
    return contrast(images.float()).tolist()


def peer_backprop(folder: Path) -> dict[str, Any]:
    from trl import AlignPropConfig, AlignPropTrainer

    pipe = peer_pipeline(folder)
    values = peer_values(pipe, folder)
    config = AlignPropConfig(mixed_precision="no", sample_num_steps=STEPS, sample_eta=0.0, sample_guidance_scale=GUIDANCE, train_batch_size=BATCH,
                             train_gradient_accumulation_steps=1, truncated_backprop_rand=False, truncated_backprop_timestep=STEPS - ROWS["grad"],
                             save_freq=10**6, num_epochs=1)  # fmt: skip
    trainer = AlignPropTrainer(config, lambda images, prompts, metadata: (contrast(images), {}), prompt, pipe)
    pipe.sd_pipeline.set_progress_bar_config(disable=True)
    return {"seconds": timed(lambda: trainer.step(0, 0)), "logprobs": values}


def peer_ddpo(folder: Path, at_once: int = BATCH) -> dict[str, Any]:
    from trl import DDPOConfig, DDPOTrainer

    pipe = peer_pipeline(folder)
    values = peer_values(pipe, folder)
    config = DDPOConfig(mixed_precision="no", sample_num_steps=STEPS, sample_eta=1.0, sample_guidance_scale=GUIDANCE, sample_batch_size=BATCH,
                        sample_num_batches_per_epoch=1, train_batch_size=at_once, train_gradient_accumulation_steps=BATCH // at_once,
                        per_prompt_stat_tracking=True, save_freq=10**6, num_epochs=1)  # fmt: skip
    trainer = DDPOTrainer(config, lambda images, prompts, metadata: (contrast(images.float()), {}), prompt, pipe)
    pipe.sd_pipeline.set_progress_bar_config(disable=True)
    return {"seconds": timed(lambda: trainer.step(0, 0)), "logprobs": values}


def peer_dpo(folder: Path) -> dict[str, Any]:
    """The loss of diffusers' research script for Diffusion-DPO, on its own U-Net with LoRA."""
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig

    torch.manual_seed(0)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    unet, scheduler = pipe.unet.requires_grad_(False), pipe.scheduler
    unet.add_adapter(
        LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"])
    )
    unet.eval()
    (chosen, rejected), levels, drawn = pairs(folder)
    for i, w in enumerate(p for p in unet.parameters() if p.requires_grad):
        w.data.add_(0.02 * torch.randn(w.shape, generator=torch.Generator().manual_seed(i)))
    latents, z, t = torch.cat([chosen, rejected]), drawn.repeat(2, 1, 1, 1), levels.repeat(2)
    noisy = scheduler.add_noise(latents, z, t)
    with torch.no_grad():
        words = pipe.encode_prompt(PROMPTS, "cpu", 1, False)[0].repeat(2, 1, 1)

    def errors() -> torch.Tensor:
        return (unet(noisy, t, words).sample - z).square().mean((1, 2, 3))

    def loss() -> torch.Tensor:
        won, lost = errors().chunk(2)
        unet.disable_adapters()
        with torch.no_grad():
            base_won, base_lost = errors().chunk(2)
        unet.enable_adapters()
        inside = -0.5 * ROWS["dpo_beta"] * ((won - lost) - (base_won - base_lost))
        return -torch.nn.functional.logsigmoid(inside).mean()

    return {"logprobs": [float(loss().detach())], "seconds": timed(lambda: loss().backward())}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def build(folder: Path) -> None:
    """The portraits world's architecture with random weights: what is timed doesn't depend on them."""
    from accord.worlds.portraits.model import assemble, build_text_encoder, build_tokenizer, build_unet, build_vae, save

    tokenizer = build_tokenizer()
    save(assemble(build_vae(), build_text_encoder(tokenizer), tokenizer, build_unet()), folder)


def main() -> None:
    warnings.filterwarnings("ignore")
    work, side, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if side == "build":
        build(folder)
        return
    works: dict[str, Callable[[Path], dict[str, Any]]] = {
        "reward-backprop-step/ours": ours_backprop, "reward-backprop-step/peer": peer_backprop,
        "ddpo-step/ours": ours_ddpo, "ddpo-step/peer": peer_ddpo,
        "ddpo-step-parts/ours": lambda f: ours_ddpo(f, ROWS["part"]), "ddpo-step-parts/peer": lambda f: peer_ddpo(f, ROWS["part"]),
        "diffusion-dpo-step/ours": ours_dpo, "diffusion-dpo-step/peer": peer_dpo,
        **{f"backprop-memory/{k}": lambda f, k=k: ours_memory(f, k, recompute=True) for k in (1, 2, 5, 10, 20)},
        "world-speed/ours": ours_world,
        "backprop-memory/plain": lambda f: ours_memory(f, STEPS, recompute=False),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        found = works[f"{work}/{side}"](folder)
    versions = {name: version(name) for name in ("trl", "diffusers")}
    print(json.dumps({**found, "versions": versions, "median": statistics.median(found["seconds"]), "peak_mb": peak()}))


if __name__ == "__main__":
    main()
