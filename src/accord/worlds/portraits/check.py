"""How good the world's parts are: ``python -m accord.worlds.portraits.check`` writes figures and a grid of samples.

It also sets the gold's limit: the residual that 99 of 100 plain reconstructions stay under.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from accord.engine.run import write_json
from accord.evaluation.pictures import save_picture
from accord.feedback import with_picture
from accord.policies.diffusion import Denoising, DiffusionPolicy
from accord.worlds.portraits import gold
from accord.worlds.portraits.distort import twisted
from accord.worlds.portraits.generator import adapted, pipeline
from accord.worlds.portraits.model import WEIGHTS
from accord.worlds.portraits.people import ATTRIBUTES, IDENTITY, People
from accord.worlds.portraits.prompts import fulfilled, prompts
from accord.worlds.portraits.proxies import Looks, PortraitFaces, PromptReader, Structure
from accord.worlds.portraits.readers import Reader, read_people, residual
from accord.worlds.portraits.render import render

SEED, PICTURES = 31_337, 1_000
SAMPLING = {
    "unet": Denoising(steps=20, guidance=2.0, eta=1.0),
    "flow": Denoising(steps=20, guidance=3.0, eta=1.0),
    "consistency": Denoising(steps=4, guidance=1.0, eta=0.0),
}


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
            g = torch.Generator().manual_seed(0)
            bent = twisted(images, torch.full((len(images),), 2.0), g)
            worse = residual(bent, read_people(reader, bent))
            found["twisted by 2 pixels, invalid"] = float((worse > found["residual_99"]).float().mean())
    return found


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


@torch.no_grad()
def of_generator(kind: Any, *, n: int = 300) -> dict[str, float]:
    """Share of wishes that the gold finds fulfilled in samples, on trained and on held-out combinations."""
    policy = DiffusionPolicy(pipeline(kind), kind)
    found: dict[str, float] = {}
    for name, held_out in (("prompts", False), ("held-out combinations", True)):
        asked = prompts(n, SEED, held_out=held_out)
        images = torch.cat([
            torch.stack(policy.sample(asked[i : i + 50], 1, SAMPLING[kind], seed=SEED + i).completions) for i in range(0, n, 50)
        ])  # fmt: skip
        said = gold.gold(prompts=asked, completions=images)
        valid = said.aspects["valid"].bool()
        met, wanted = fulfilled(asked, gold.estimate(images).people.attributes)
        found |= {f"{name}/fulfilled, valid or not": float(met[wanted].float().mean()), f"{name}/fulfilled": float(said.aspects["prompt"].mean()),
                  f"{name}/fulfilled where valid": float(said.aspects["prompt"][valid].mean()), f"{name}/valid": float(valid.float().mean()),
                  f"{name}/proxy": float(PromptReader()(prompts=asked, completions=images).values.mean())}  # fmt: skip
    return found


@torch.no_grad()
def of_adapter(*, n: int = 100) -> dict[str, float]:
    """How like the person who is shown the gold finds what the image adapter draws, against no picture and strangers' pictures."""
    policy, people, asked = adapted(), People.draw(n, SEED + 9), prompts(n, SEED + 9)
    shown, _ = PortraitFaces()(render(People.draw(n, SEED + 10).with_identity(people.identity)).image)
    found: dict[str, float] = {}
    for name, vectors in (("shown", shown), ("a stranger shown", shown.roll(1, 0)), ("nobody shown", shown * 0)):
        rows = [with_picture(t, v) for t, v in zip(asked, vectors, strict=True)]
        images = torch.cat([torch.stack(policy.sample(rows[i : i + 50], 1, SAMPLING["unet"], seed=SEED + i).completions)
                            for i in range(0, n, 50)])  # fmt: skip
        said = gold.gold(prompts=asked, completions=images, person=list(people.identity)).aspects
        valid = said["valid"].bool()
        found |= {f"{name}/identity where valid": float(said["identity"][valid].mean()),
                  f"{name}/fulfilled where valid": float(said["prompt"][valid].mean()), f"{name}/valid": float(valid.float().mean())}  # fmt: skip
    return found


def grid(kind: Any, rows: int = 4, columns: int = 10) -> Float[Tensor, "3 h w"]:
    """Samples of random prompts."""
    policy = DiffusionPolicy(pipeline(kind), kind)
    drawn = policy.sample(prompts(rows * columns, SEED + 5), 1, SAMPLING[kind], seed=SEED).completions
    return torch.cat([torch.cat(drawn[r * columns : (r + 1) * columns], -1) for r in range(rows)], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    vae = pipeline().vae
    found: dict[str, Any] = {"gold": of_gold(vae)}
    error = {t: found["gold"][f"reconstructions/error of {t}"] for t in IDENTITY}
    write_json(WEIGHTS / "gold.json", {"residual_99": found["gold"]["residual_99"], "error": error})
    gold.figures.cache_clear()
    found["proxies"] = of_proxies(vae)
    for kind, part in (("unet", "unet"), ("flow", "flow"), ("consistency", "consistency")):
        if (WEIGHTS / part).is_dir():
            found[kind] = of_generator(kind)
            save_picture(grid(kind), args.out / f"portraits-{kind}.png")
    found["adapter"] = of_adapter()
    write_json(args.out / "portraits.json", found)


if __name__ == "__main__":
    main()
