"""Write docs/gallery.md, before and after on the embedded worlds: ``python docs/gallery.py`` (minutes) draws and measures all of it anew."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

HERE = Path(__file__).parent
SHOWN = 6
"""Pictures of a row, the first that are drawn."""


def gallery() -> None:
    """The page and its picture."""
    from accord.cli.data import quiet_diffusers

    quiet_diffusers()
    rows, answers = pictures(), texts()
    draw(rows, HERE / "results" / "gallery-portraits.png")
    lines = [
        "# Gallery", "",
        "Before and after, on the two worlds of the package: made by `make gallery`, a few minutes on a CPU. Nothing is chosen: the first prompts, the "
        "first noise. The number beside each row is the world's gold, which nothing here learned from: where it doesn't rise, that is said, too.", "",
        "## Portraits", "", "The same prompts in all rows, and the same noise before and after DRaFT.", "",
        "![Pictures before and after](results/gallery-portraits.png)", "",
        "| row | how | gold |", "|---|---|---|", *(f"| {name} | {how} | {gold:.2f} |" for name, (how, _, gold) in rows.items()), "",
        "## Letters", "", "The first held-out requests, answered before and after DPO on 600 comparisons of the policy's own answers.", "",
        *(line for asked, before, after in answers["shown"] for line in ("```", f"       {asked}", f"before {before}", f"after  {after}", "```", "")),
        f"Over 150 held-out requests the gold goes from {answers['before']:.2f} to {answers['after']:.2f}: it prefers the new answer on {answers['share']}.", "",
        "How it was done, line by line: [My SFT model answers badly](story-better.md). More of the portraits: [what `accord demo portraits` makes](index.md).", "",
    ]  # fmt: skip
    (HERE / "gallery.md").write_text("\n".join(lines))


def pictures() -> Mapping[str, tuple[str, list[Tensor], float]]:
    """Rows by name: how they were made, the pictures, their mean gold."""
    import accord
    from accord.worlds import portraits
    from accord.worlds.portraits.gold import gold

    asked, reward = portraits.prompts(SHOWN, 11), portraits.PromptReader()
    sampling = accord.Denoising(steps=8, guidance=1.0, eta=1.0)
    policy = portraits.policy(lora=8)
    few, once = portraits.policy("consistency"), accord.Denoising(steps=1, guidance=1.0, eta=0.0)

    def row(how: str, found: Any) -> tuple[str, list[Tensor], float]:
        truth = accord.rewards.score(gold, prompts=asked, completions=torch.stack(list(found)).detach().cpu()).values
        return how, list(found), float(truth.mean())

    rows = {"as it comes": row("the generator alone, 8 steps", policy.sample(asked, 1, sampling, seed=1).completions)}
    best, _ = accord.search.best_of_n(policy, reward, asked, 8, sampling, seed=1)
    rows["best of 8"] = row("the one whose prompt a reader reads best, of eight", best.completions)
    learned = accord.algorithms.DRaFT(policy, reward, k=1, sampling=sampling)
    accord.fit(learned, portraits.prompts(200, 12), steps=24, batch_size=8, lr=3e-4, progress=False)
    rows["after DRaFT"] = row(
        "a LoRA after 24 updates by that reader's gradient, of eight pictures each", policy.sample(asked, 1, sampling, seed=1).completions
    )  # fmt: skip
    rows["one step"] = row("the consistency twin in a single step", few.sample(asked, 1, once, seed=1).completions)
    found = accord.search.noise_optimise(few, reward, asked, sampling=once, iterations=20, seed=1)
    rows["ReNO"] = row("the same, its noise optimised for the reader, no training", found.images)
    return rows


def texts() -> dict[str, Any]:
    """Answers before and after DPO, and their gold."""
    import accord
    from accord.worlds import letters
    from accord.worlds.letters.feedback import comparisons

    policy, sampling = letters.policy(), accord.Sampling(max_new_tokens=40)
    tests = letters.tasks(150, seed=2, split="test")
    pairs = comparisons(policy, letters.population(20, seed=0, bias=letters.FLAWS["mild"]), 600, seed=0)

    def answer() -> tuple[list[str], Tensor]:
        drawn = policy.sample([t.prompt for t in tests], 1, sampling, seed=7)
        truth = accord.rewards.score(letters.gold, prompts=drawn.prompts, completions=drawn.completions).values
        return drawn.completions, truth

    before, low = answer()
    accord.fit(accord.algorithms.DPO(policy, beta=0.1), pairs, steps=40, batch_size=16, lr=2e-4, progress=False)
    after, high = answer()
    shown = [(t.prompt, b, a) for t, b, a in zip(tests[:4], before, after, strict=False)]
    return {"shown": shown, "before": float(low.mean()), "after": float(high.mean()), "share": accord.evaluation.win_rate(high, low)}  # fmt: skip


def draw(rows: Mapping[str, tuple[str, list[Tensor], float]], path: Path) -> None:
    """All rows as one figure."""
    figure = Figure(figsize=(1.5 * SHOWN, 1.62 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), SHOWN)
    for line, (name, (_, found, gold)) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(line, found, strict=True):
            axis.imshow(picture.detach().cpu().clamp(0, 1).permute(1, 2, 0))
            axis.axis("off")
        line[0].set_title(f"{name}: gold {gold:.2f}", fontsize=9, loc="left")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    gallery()
