"""Train the world's models: ``python -m accord.worlds.portraits.train STAGE``, in the order of STAGES, each resumable."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel

from accord.algorithms import Supervised
from accord.engine import derive, fit, generator
from accord.engine.run import load_tensors, save_tensors
from accord.engine.store import cache_folder
from accord.feedback import Example, with_picture
from accord.policies.diffusion import DiffusionPolicy
from accord.worlds.portraits.generator import adapted, pipeline
from accord.worlds.portraits.lessons import Album, AngularMargin, Lesson, Read, attributes, looks, parameters
from accord.worlds.portraits.model import (
    LENGTH,
    assemble,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    build_vae,
    save,
    scheduler,
)
from accord.worlds.portraits.people import People, faces
from accord.worlds.portraits.prompts import describe
from accord.worlds.portraits.proxies import PortraitFaces
from accord.worlds.portraits.readers import SHAPES, Reader
from accord.worlds.portraits.render import render
from accord.worlds.portraits.teach import Denoise, Reconstruct, Understand
from accord.worlds.portraits.twins import Distil, build_transformer, examples, flow_pipeline

STAGES = (
    "teacher",
    "vae",
    "words",
    "unet",
    "identity",
    "attributes",
    "looks",
    "gold",
    "flow",
    "consistency",
    "adapter",
)
PICTURES = 40_000
PERSONS, SHOTS = 2_400, 10
GOLD = 777
"""Seeds of the gold's data and weights are another's than the proxies'."""


def vae(run: Path, out: Path, *, steps: int, seed: int = 0) -> None:
    """The autoencoder, with its latents' scale."""
    model: Any = build_vae(seed)
    teacher = Reader.load("teacher", out)
    fit(Reconstruct(model, teacher), range(steps * 16), steps=steps, batch_size=16, lr=1.5e-3, schedule="cosine", warmup=0.02, ema=0.998, seed=seed,
        out=run, resume=True, checkpoint_every=250)  # fmt: skip
    with torch.no_grad():
        images = render(People.draw(256, derive(seed, purpose="scale"))).image
        spread = model.encode(images * 2 - 1).latent_dist.mean.std()
    model.register_to_config(scaling_factor=round(1 / float(spread), 4))
    model.to(memory_format=torch.contiguous_format).half().save_pretrained(out / "vae")


def words(run: Path, out: Path, *, steps: int, seed: int = 0) -> None:
    """The text encoder, from prompts alone."""
    tokenizer = build_tokenizer()
    text_encoder: Any = build_text_encoder(tokenizer, seed)
    fit(Understand(text_encoder, partial(tokenised, tokenizer)), range(PICTURES), steps=steps, batch_size=64, lr=1e-3, schedule="cosine",
        warmup=0.05, seed=seed, out=run, resume=True, checkpoint_every=250)  # fmt: skip
    text_encoder.half().save_pretrained(out / "text_encoder")


def unet(run: Path, out: Path, *, steps: int, seed: int = 0) -> None:
    """The U-Net, on latents that are computed once; writes the whole pipeline."""
    model: Any = AutoencoderKL.from_pretrained(out / "vae", dtype=torch.float32)
    tokenizer = build_tokenizer()
    text_encoder: Any = CLIPTextModel.from_pretrained(out / "text_encoder", dtype=torch.float32)
    denoiser: Any = build_unet(seed)
    latents, tokens = encoded(model, tokenizer, PICTURES, seed, run.with_suffix(".safetensors"))
    empty = tokenised(tokenizer, [""])[0]
    fit(Denoise(denoiser, text_encoder, scheduler(), latents, tokens, empty), range(PICTURES), steps=steps, batch_size=64, lr=1e-3,
        schedule="cosine", warmup=0.02, ema=0.999, seed=seed, out=run, resume=True, checkpoint_every=250)  # fmt: skip
    save(
        assemble(
            model.half(), text_encoder.half(), tokenizer, denoiser.to(memory_format=torch.contiguous_format).half()
        ),
        out,
    )


def flow(run: Path, out: Path, *, steps: int, seed: int = 0) -> None:
    """The flow twin's transformer, on the same latents and the U-Net's text encoder; goes on from one that is there."""
    like, lr = pipeline("unet", out), 1e-3
    transformer = build_transformer(seed)
    if (out / "flow").is_dir():
        transformer = type(transformer).from_pretrained(out / "flow", dtype=torch.float32)
        seed, lr = seed + 1, 6e-4
    policy = DiffusionPolicy(flow_pipeline(transformer, like), "flow")
    fit(Supervised(policy), pictures(like, run, 0), steps=steps, batch_size=64, lr=lr, schedule="cosine", warmup=0.02,
        ema=0.999, seed=seed, out=run, resume=True, checkpoint_every=250)  # fmt: skip
    transformer.half().save_pretrained(out / "flow")


def consistency(run: Path, out: Path, *, steps: int, seed: int = 0) -> None:
    """The consistency twin: a LoRA that learns the U-Net's whole path as one step."""
    policy = DiffusionPolicy(pipeline("unet", out), "consistency")
    policy.add_lora(16)
    fit(Distil(policy), pictures(policy.pipeline, run, seed), steps=steps, batch_size=32, lr=1e-3, schedule="cosine", warmup=0.02,
        ema=0.99, seed=seed, out=run, resume=True, checkpoint_every=250)  # fmt: skip
    policy.half().save(out / "consistency")


def adapter(run: Path, out: Path, *, steps: int, seed: int = 0) -> None:
    """The image adapter: the U-Net is shown another picture of the person whom it denoises."""
    policy = adapted(out, trained=False)
    fit(Supervised(policy), portraits_of(policy, 8_000, seed), steps=steps, batch_size=32, lr=2e-3, schedule="cosine", warmup=0.02,
        ema=0.998, seed=seed, out=run, resume=True, checkpoint_every=250)  # fmt: skip
    policy.half().save(out)


@torch.no_grad()
def portraits_of(policy: DiffusionPolicy, n: int, seed: int, drop: float = 0.1) -> list[Example]:
    """Latents of n portraits; the prompt of each shows the same person in another picture (some show nobody)."""
    people = People.draw(n, derive(seed, purpose="adapter"))
    other = People.draw(n, derive(seed, purpose="shown")).with_identity(people.identity)
    encoder = PortraitFaces()
    vectors = torch.cat([encoder(render(other[i : i + 100]).image)[0] for i in range(0, n, 100)])
    latents = torch.cat([policy.pictures.encode(render(people[i : i + 50]).image) for i in range(0, n, 50)])
    nobody = (torch.rand(n, generator=generator(seed, purpose="nobody")) < drop).tolist()
    return [Example(prompt=t if skip else with_picture(t, v), completion=x)
            for t, v, x, skip in zip(describe(people, seed), vectors, latents, nobody, strict=True)]  # fmt: skip


def pictures(pipe: Any, run: Path, seed: int) -> list[Example]:
    """The latents that the U-Net learned from, with their prompts."""
    latents, tokens = encoded(pipe.vae, pipe.tokenizer, PICTURES, seed, run.with_name("unet.safetensors"))
    return examples(latents, pipe.tokenizer.batch_decode(tokens, skip_special_tokens=True))


def reader(stage: str, run: Path, out: Path, *, steps: int) -> None:
    """A proxy or the gold: its network, its lesson, its own pictures. The autoencoder's teacher has seen no reconstruction."""
    seed = GOLD if stage == "gold" else 0
    torch.manual_seed(derive(seed, purpose=stage))
    made = Reader(SHAPES[stage].heads, width=SHAPES[stage].width)
    known: dict[str, Lesson] = {"attributes": attributes, "looks": looks, "gold": parameters, "teacher": parameters}
    lesson = known.get(stage) or AngularMargin(PERSONS, SHAPES[stage].heads["identity"])
    album = (
        None if stage == "teacher" else reconstructions(out / "vae", seed, run.with_name(f"shots-{seed}.safetensors"))
    )
    algorithm = Read(made, lesson, album, fresh=stage in ("gold", "teacher"))
    fit(algorithm, range(PERSONS * SHOTS), steps=steps, batch_size=64, lr=1e-3, schedule="cosine", warmup=0.02, ema=0.998,
        seed=seed, out=run, resume=True, checkpoint_every=250)  # fmt: skip
    if stage == "looks" and album is not None:
        standardise(made, album)
    save_tensors(
        out / f"{stage}.safetensors",
        {k: v.half() for k, v in made.state_dict().items()},
    )


@torch.no_grad()
def standardise(reader: Reader, album: Album, n: int = 1000) -> None:
    """Scale and shift each head until sound pictures have median 0 and spread 1: comparisons leave both open."""
    found = [reader(album.images[i : i + 100].float() / 255) for i in range(0, n, 100)]
    for name, said in ((k, torch.cat([f[k] for f in found])) for k in found[0]):
        head: Any = reader.heads[name]
        head.weight /= said.std()
        head.bias.copy_((head.bias - said.median()) / said.std())


@torch.no_grad()
def reconstructions(vae: Path, seed: int, kept: Path) -> Album:
    """Some pictures of each of many persons, as the autoencoder gives them back; kept in a file."""
    person = torch.arange(PERSONS).repeat_interleave(SHOTS)
    people = People.draw(len(person), derive(seed, purpose="shots"), held_out=None)
    people = people.with_identity(faces(PERSONS, derive(seed, purpose="persons"))[person])
    if not kept.is_file():
        model: Any = AutoencoderKL.from_pretrained(vae, dtype=torch.float32)
        parts = [model(render(people[i : i + 50]).image * 2 - 1).sample for i in range(0, len(people), 50)]
        images = ((torch.cat(parts) / 2 + 0.5).clamp(0, 1) * 255).round().byte()
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(kept, {"images": images})
    return Album(load_tensors(kept)["images"], people, person)


@torch.no_grad()
def encoded(model: Any, tokenizer: Any, n: int, seed: int, kept: Path) -> tuple[Tensor, Tensor]:
    """Scaled latents of n random portraits, and the tokens of a true prompt for each; kept in a file."""
    if not kept.is_file():
        latents, texts = [], []
        for i in range(0, n, 500):
            people = People.draw(500, derive(seed, i, purpose="pictures"))
            images = render(people).image * 2 - 1
            latents.append(
                torch.cat([model.encode(x).latent_dist.mean for x in images.split(50)]) * model.config.scaling_factor
            )
            texts += describe(people, derive(seed, i, purpose="prompts"))
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(kept, {"latents": torch.cat(latents).half(), "tokens": tokenised(tokenizer, texts)})
    found = load_tensors(kept)
    return found["latents"], found["tokens"]


def tokenised(tokenizer: Any, texts: list[str]) -> Tensor:
    return tokenizer(texts, padding="max_length", max_length=LENGTH, return_tensors="pt").input_ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument(
        "--out", type=Path, default=cache_folder() / "portraits" / "weights", help="pipeline folder to write"
    )
    parser.add_argument("--runs", type=Path, default=cache_folder() / "portraits" / "runs", help="resumable runs")
    args = parser.parse_args()
    train: Any = {
        "vae": vae,
        "words": words,
        "unet": unet,
        "flow": flow,
        "consistency": consistency,
        "adapter": adapter,
    }.get(args.stage) or partial(reader, args.stage)
    train(args.runs / args.stage, args.out, steps=args.steps)


if __name__ == "__main__":
    main()
