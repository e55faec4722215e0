"""I1 and I2 on a pretended accelerator: the same answers, log-probs and first steps as on the CPU, in both precisions."""

from pathlib import Path

import pytest
import torch

from accord.engine import fit
from accord.policies import LanguagePolicy, Sampling

from .adapters import STARTS
from .architectures import saved
from .matrix import Note, spread
from .test_i1_logprobs import PROMPTS
from .test_i2_start import METHODS

SOME = (
    "llama", "gemma2", "mamba", "gpt2", "cohere", "bloom", "opt", "qwen3", "granite", "gpt_neox",
    "phi3", "mistral", "bert", "starcoder2",
)  # fmt: skip
"""Without experts: their kernels for accelerators can't be had on a CPU that pretends to be one."""


@pytest.mark.parametrize("name", spread(SOME, SOME[:3]))
def test_answers_and_log_probs_are_those_of_the_cpu(
    name: str,
    models: Path,
    note: Note,
    far: torch.device,
) -> None:
    here, there = (
        LanguagePolicy.load(saved(name, models), device="cpu"),
        LanguagePolicy.load(saved(name, models), device=far, dtype="float32"),
    )
    assert there.device == far
    near, away = (p.sample(PROMPTS, 2, Sampling(max_new_tokens=4), seed=1) for p in (here, there))
    assert away.completions == near.completions
    with torch.no_grad():
        assert torch.allclose(there.logprobs(away).cpu(), away.logprobs.cpu(), atol=1e-4)
    note("devices", "an accelerator (pretended)", result="works")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("method", spread(list(METHODS), ("dpo", "grpo")))
def test_the_first_step_starts_from_where_the_policy_began(
    start: str,
    method: str,
    models: Path,
    far: torch.device,
) -> None:
    made, expected = METHODS[method]
    algorithm, rows = made(STARTS[start]("gpt2", models, device=far, dtype="bfloat16"))
    run = fit(algorithm, rows, steps=1, batch_size=len(rows), progress=False)
    assert algorithm.policy.device == far
    for name, value in expected.items():
        assert run.metrics[0][name] == pytest.approx(value, abs=0.05), name
