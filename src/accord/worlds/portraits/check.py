"""How good the world's parts are: ``python -m accord.worlds.portraits.check`` writes figures and a grid of samples.

It also sets the gold's limit: the residual that 99 of 100 plain reconstructions stay under.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.run import write_json
from accord.evaluation.pictures import save_picture
from accord.feedback import with_picture
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.rewards import Reward
from accord.worlds.portraits import gold
from accord.worlds.portraits.distort import climbed, coloured, twisted
from accord.worlds.portraits.generator import SAMPLING, Kind, adapted, policy
from accord.worlds.portraits.model import WEIGHTS
from accord.worlds.portraits.people import ATTRIBUTES, IDENTITY, People
from accord.worlds.portraits.prompts import describe, fulfilled, prompts
from accord.worlds.portraits.proxies import Looks, PortraitFaces, PromptReader, Structure
from accord.worlds.portraits.readers import Reader, read_people, residual
from accord.worlds.portraits.render import render

SEED, PICTURES = 31_337, 1_000
DRAWN: dict[str, tuple[Kind, Denoising]] = {
    "unet": ("unet", SAMPLING["unet"]),
    "unet, 20 steps, guidance 2": ("unet", Denoising(steps=20, guidance=2.0, eta=1.0)),
    "flow": ("flow", SAMPLING["flow"]),
    "consistency": ("consistency", SAMPLING["consistency"]),
    "consistency, two steps": ("consistency", replace(SAMPLING["consistency"], steps=2)),
    "consistency, one step": ("consistency", replace(SAMPLING["consistency"], steps=1)),
}
"""The generators, each in one way or more of drawing from it."""


@torch.no_grad()
def reconstructed(images: Float[Tensor, "n 3 64 64"], vae: Any) -> Float[Tensor, "n 3 64 64"]:
    """What the autoencoder makes of pictures."""
    return torch.cat([(vae(x * 2 - 1).sample / 2 + 0.5).clamp(0, 1) for x in images.split(50)])


@torch.no_grad()
def of_gold(vae: Any) -> dict[str, float]:
    """What the gold reads off renders and reconstructions of people it has never seen, and the limit of its residual."""
    people = People.draw(PICTURES, SEED, held_out=None)
    plain = render(people).image
    again = reconstructed(plain, vae)
    reader = Reader.load("gold", WEIGHTS)
    found: dict[str, float] = {"psnr": float(-10 * (again - plain).square().mean().log10())}
    for name, images in (("renders", plain), ("reconstructions", again)):
        read = read_people(reader, images)
        error = (read.identity - people.identity).square().mean(0).sqrt()
        found |= {f"{name}/identity error": float(error.square().mean().sqrt())}
        found |= {f"{name}/{a}": float((read.attributes[a] == people.attributes[a]).float().mean()) for a in ATTRIBUTES}
        if name == "reconstructions":
            found |= {f"{name}/error of {t}": float(e) for t, e in zip(IDENTITY, error, strict=True)}
            left = residual(images, read)
            found["residual_99"] = float(left.quantile(0.99))
            for pixels in (1.0, 1.5, 2.0):
                bent = twisted(images, torch.full((len(images),), pixels), torch.Generator().manual_seed(0))
                worse = residual(bent, read_people(reader, bent))
                found[f"twisted by {pixels:g} pixels, invalid"] = float((worse > found["residual_99"]).float().mean())
    return found


@torch.no_grad()
def of_portraits(vae: Any, n: int = 200) -> dict[str, float]:
    """The gold of sound portraits with true prompts, and of what is none or hardly one."""
    people, g = People.draw(n, SEED + 2), torch.Generator().manual_seed(0)
    sound, asked = reconstructed(render(people).image, vae), describe(people, SEED, mention=1.0)
    shown = {
        "reconstructions": sound,
        **{f"twisted by {a:g} pixels": twisted(sound, torch.full((n,), a), g) for a in (0.5, 1.0, 1.5, 2.0, 3.0)},
        "colours alone": coloured(people),
        "one grey": torch.full_like(sound, 0.5),
        "noise": torch.rand(sound.shape, generator=g),
    }
    return {f"{k}/gold": float(gold.gold(prompts=asked, completions=x).values.mean()) for k, x in shown.items()}


@torch.no_grad()
def of_proxies(vae: Any) -> dict[str, float]:
    """How well the proxies do on reconstructions: verification, attributes, spoilt against sound."""
    n = 500
    first, second = (People.draw(n, SEED + 1 + i, held_out=None) for i in range(2))
    second = second.with_identity(first.identity)
    images = [reconstructed(render(p).image, vae) for p in (first, second)]
    a, b = (PortraitFaces()(x)[0] for x in images)
    same, others = (a * b).sum(-1), (a * b.roll(1, 0)).sum(-1)
    threshold = torch.cat([same, others]).median()
    looks, reader = Looks(), Reader.load("attributes", WEIGHTS)
    g = torch.Generator().manual_seed(1)
    sound = looks(prompts=[""] * n, completions=images[0]).aspects["structure"]
    slipped = twisted(images[0], torch.full((n,), 1.5), g)
    bent = looks(prompts=[""] * n, completions=slipped).aspects["structure"]
    whole, broken = (Structure()(prompts=[""] * n, completions=x).values for x in (images[0], slipped))
    other = looks(prompts=[""] * n, completions=images[1]).aspects["structure"]
    read = reader(images[0])
    return {
        "identity/verification accuracy": float(
            ((same > threshold).float().mean() + (others <= threshold).float().mean()) / 2
        ),
        **{f"attributes/{k}": float((read[k].argmax(-1) == first.attributes[k]).float().mean()) for k in ATTRIBUTES},
        "looks/ranks sound over twisted": float((sound > bent).float().mean()),
        "looks/ranks one sound picture over another": float((sound > other).float().mean()),
        "structure/ranks sound over twisted": float((whole > broken).float().mean()),
        "structure/of sound pictures": float(whole.mean()),
        "structure/of pictures twisted by 1.5 pixels": float(broken.mean()),
    }


def drawn(
    trained: DiffusionPolicy, asked: list[Any], sampling: Denoising, seed: int = SEED
) -> Float[Tensor, "n 3 h w"]:
    """A picture of each prompt."""
    parts = [
        trained.sample(asked[i : i + 50], 1, sampling, seed=seed + i).completions for i in range(0, len(asked), 50)
    ]
    return torch.stack([x for part in parts for x in part])


def of_agreement(n: int = 300, attacked: int = 60) -> dict[str, float]:
    """How far proxies and gold agree on what the generator draws, each picture beside another one's prompt; and what becomes of
    both when a picture climbs a proxy by 8/255 a pixel."""
    asked = prompts(n, SEED + 3)
    images = drawn(policy(), asked, SAMPLING["unet"])
    asked = asked[1:] + asked[:1]
    said, read = gold.gold(prompts=asked, completions=images), gold.estimate(images).people.identity
    faces, likeness = PortraitFaces()(images)[0], gold.likeness(read, read.roll(1, 0))

    def alike(mine: Tensor, golds: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([mine, golds]))[0, 1])

    rewards: dict[str, tuple[Reward, str]] = {
        "prompt reader": (PromptReader(), "prompt"), "structure": (Structure(), "structure"), "looks": (Looks(), "structure")}  # fmt: skip
    found = {"faces/correlation with the gold's identity": alike((faces * faces.roll(1, 0)).sum(-1), likeness)}
    for name, (reward, aspect) in rewards.items():
        value = reward(prompts=asked, completions=images).values
        found[f"{name}/correlation with the gold's {aspect}"] = alike(value, said.aspects[aspect])
        up = climbed(images[:attacked], partial(_values, reward, asked[:attacked]))
        found |= {f"{name}/before": float(value[:attacked].mean()), f"{name}/climbed": float(reward(prompts=asked[:attacked], completions=up).values.mean()),
                  f"{name}/gold before": float(said.values[:attacked].mean()),
                  f"{name}/gold climbed": float(gold.gold(prompts=asked[:attacked], completions=up).values.mean())}  # fmt: skip
    return found


def _values(reward: Reward, asked: list[str], images: Tensor) -> Tensor:
    return reward(prompts=asked, completions=images).values


def of_generator(kind: Kind, sampling: Denoising, n: int = 300) -> dict[str, float]:
    """Share of valid samples, and of wishes that the gold finds fulfilled in them, on trained and on held-out combinations."""
    found: dict[str, float] = {}
    for name, held_out in (("prompts", False), ("held-out combinations", True)):
        asked = prompts(n, SEED, held_out=held_out)
        images = drawn(policy(kind), asked, sampling)
        said = gold.gold(prompts=asked, completions=images)
        met, wanted = fulfilled(asked, gold.estimate(images).people.attributes)
        found |= {f"{name}/valid": float(said.aspects["valid"].mean()), f"{name}/fulfilled": float(met[wanted].float().mean()),
                  f"{name}/structure": float(said.aspects["structure"].mean()), f"{name}/gold": float(said.values.mean()),
                  f"{name}/proxy": float(PromptReader()(prompts=asked, completions=images).values.mean())}  # fmt: skip
    return found


def of_adapter(n: int = 200) -> dict[str, float]:
    """How like the person who is shown the gold finds what the image adapter draws, against no picture and strangers' pictures."""
    trained, people, asked = adapted(), People.draw(n, SEED + 9), prompts(n, SEED + 9)
    shown, _ = PortraitFaces()(render(People.draw(n, SEED + 10).with_identity(people.identity)).image)
    found: dict[str, float] = {}
    for name, vectors in (("shown", shown), ("a stranger shown", shown.roll(1, 0)), ("nobody shown", shown * 0)):
        images = drawn(trained, [with_picture(t, v) for t, v in zip(asked, vectors, strict=True)], SAMPLING["unet"])
        said = gold.gold(prompts=asked, completions=images, person=list(people.identity)).aspects
        valid = said["valid"].bool()
        found |= {f"{name}/identity where valid": float(said["identity"][valid].mean()),
                  f"{name}/fulfilled where valid": float(said["prompt"][valid].mean()), f"{name}/valid": float(valid.float().mean())}  # fmt: skip
    return found


def grid(kind: Kind, sampling: Denoising, rows: int = 4, columns: int = 10) -> Float[Tensor, "3 h w"]:
    """Samples of random prompts."""
    images = drawn(policy(kind), prompts(rows * columns, SEED + 5), sampling)
    return torch.cat([torch.cat(list(images[r * columns : (r + 1) * columns]), -1) for r in range(rows)], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    vae = policy().pipeline.vae
    found: dict[str, Any] = {"gold": of_gold(vae)}
    error = {t: found["gold"][f"reconstructions/error of {t}"] for t in IDENTITY}
    write_json(WEIGHTS / "gold.json", {"residual_99": found["gold"]["residual_99"], "error": error})
    gold.figures.cache_clear()
    found |= {"portraits": of_portraits(vae), "proxies": of_proxies(vae), "agreement": of_agreement()}
    for name, (kind, sampling) in DRAWN.items():
        found[name] = of_generator(kind, sampling)
        if name == kind:
            save_picture(grid(kind, sampling), args.out / f"portraits-{kind}.png")
    found["adapter"] = of_adapter()
    write_json(args.out / "portraits.json", found)


if __name__ == "__main__":
    main()
