"""Write docs/families.md, the pipelines that can be trained, from the families and from the table of their tests."""

import sys
from pathlib import Path

from tested import lora_of, slug

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))

GUIDANCE = {"true": "away from the blank prompt", "embedded": "told to the denoiser", "none": "none: distilled away"}


def families() -> None:
    """Write the page."""
    (HERE / "families.md").write_text(page())


def page() -> str:
    """What `families` writes."""
    from accord.policies.diffusion.families import FAMILIES
    from tiny_families import TINY, policy

    tried = {name: policy(name) for name in TINY}
    lines = []
    for kind in FAMILIES:
        own = {name: p for name, p in tried.items() if type(p.family) is kind}
        guidance = dict.fromkeys(GUIDANCE[p.family.guidance] for p in own.values())
        layers = dict.fromkeys(lora_of(p.family) for p in own.values())
        classes = ", ".join(f"`{name}`" for name in sorted(kind.pipelines))
        lines.append(
            f"| [{kind.name}](families/{slug(kind)}.md) | {classes} | {'; '.join(guidance)} | {'; '.join(layers)} | {', '.join(own)} |"
        )
    return TEXT + "\n".join(lines) + "\n" + AFTER


TEXT = """# Families of pipelines

A diffusers pipeline of one of these families becomes a policy by its name, its folder, or as it is when it is loaded:
`accord.DiffusionPolicy.load("black-forest-labs/FLUX.1-dev", lora=16, size=512)`. Any other is refused before its weights are read. `size` is a side
in pixels, or height and width; of clips, frames, height and width. Without it pictures are as large as the pipeline makes them by itself.

A scale of guidance means the same everywhere: `without + guidance * (with - without)`, 1 switches it off. So it is one more than `guidance_scale` of
Z-Image's pipeline, it is `true_cfg_scale` of Qwen-Image's, and `guidance_scale` of all others. Denoisers into which guidance was distilled are told the
scale, or know none. Training by denoising (`Supervised`, `DiffusionDPO` …) is without guidance everywhere: those that are told of it are told 1.

| family | classes | guidance | LoRA goes on | tried as |
|---|---|---|---|---|
"""

AFTER = """
## What was tried

Each row's tiny pipelines (`tests/tiny_families.py`) are of the real classes, made from a config, with random weights. For each of them a test says that

- a sample is the picture (or clip) that the pipeline's own `__call__` makes of the same noise, steps and guidance, to 1e-4 (of schedulers of first order;
  of SD-Turbo and SDXL-Turbo in the one step that they take);
- Diffusion-DPO, GRPO on sampled steps (Flow-GRPO), AlignProp, supervised training and ReNO each change what they measure as their gradient says;
- a LoRA that was saved is opened by `pipe.load_lora_weights`, every layer of it, and draws the same (not of PixArt, for which diffusers has none; nor
  was it tried again of twins that have the same layers: `sd-lcm`, `flux-schnell`, `flux2-klein-distilled`);
- a run that was cut off ends with the weights with which it would have ended (but for those twins);
- it moves whole to another device (a pretended one) and to bfloat16, and draws the same there.

What could not be tried without weights: that rewards rise on a model of full size, how much memory it takes, and how fast it is.

What Wan makes are clips, `[frames, 3, height, width]`. A reward sees them whole, or frame by frame through `rewards.Framewise`. On the
command line `size` is `[frames, height, width]`, `accord sample` writes each clip as a folder of its frames (and, to look at, as a strip of some of them),
records name a clip by such a folder (from where their file lies, or from where the command runs; frames go by the numbers in their names), and reports show strips.

Where two denoisers take turns (Wan 2.2 of 14B: one for much noise, one for little) both train, each at the levels that are its own, and
`sampling.guidance` may be a list with a number for each. Their LoRA lies in two files, as diffusers reads one at a time:
`pipe.load_lora_weights("lora/")`, then `pipe.load_lora_weights("lora/transformer_2", load_into_transformer_2=True)`. accord opens both by the folder's name.
Where processes train together, each asks both at every step: a test has DDP with one process, several and FSDP2 were not tried.

A sampler of higher order (DPM-Solver, UniPC) lends a policy its levels alone: steps of a policy are Gaussian, of first order.

## What a family is

One file in `policies/diffusion/families/`, which says what its pipeline does otherwise than `Family` does: what a prompt becomes (`encode`, `blank`), how
latents look and lie (`shape`, `scaled`, `unscaled`), what the denoiser is told and what its answer means (`told`, `heard`), how guidance is done
(`guidance`, `guided`), where levels lie (`spacing`, `shift`) and where a LoRA goes (`targets`). Its tests are one line in `tests/tiny_families.py`:
how to build it tiny.
"""


if __name__ == "__main__":
    families()
