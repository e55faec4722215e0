"""The ways in which people start and what they start from: all weights, new adapters, adapters of supervised training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from accord.policies import LanguagePolicy

from .architectures import saved


def moved(policy: Any, by: float = 0.3, seed: int = 1) -> Any:
    """The policy after some training, as far as its weights go: what trains is somewhere else."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, w in sorted(policy.named_parameters()):
            if w.requires_grad and "lora_A" not in name:
                size = by if "lora_B" in name else 0.05 * float(w.std(correction=0)) or by
                w.add_((size * torch.randn(w.shape, generator=draw)).to(w))
    return policy


def tuned(name: str, models: Path, **options: Any) -> Path:
    """The adapter folder that supervised training of a tiny model leaves."""
    folder = models / f"{name}-tuned"
    if not folder.is_dir():
        moved(LanguagePolicy.load(saved(name, models, **options), lora=4, device="cpu")).save(folder)
    return folder


Start = Callable[..., LanguagePolicy]

STARTS: dict[str, Start] = {
    "all weights": lambda name, models, **o: LanguagePolicy.load(saved(name, models), **o),
    "a new LoRA": lambda name, models, **o: LanguagePolicy.load(saved(name, models), lora=4, **o),
    "an SFT adapter": lambda name, models, **o: LanguagePolicy.load(tuned(name, models), **o),
    "a new LoRA over an SFT adapter": lambda name, models, **o: LanguagePolicy.load(tuned(name, models), lora=4, **o),
}
