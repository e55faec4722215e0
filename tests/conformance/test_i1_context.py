"""I1 at the end of a model's context: the last token that fits has its log-prob, and one more is refused in a line."""

from pathlib import Path

import pytest
import torch

from accord.errors import AccordError
from accord.policies import LanguagePolicy, Sampling
from accord.policies.base import Group

from .architectures import NAMES
from .matrix import Note, one_line, spread
from .shrink import CONTEXT
from .test_i1_logprobs import load


@pytest.mark.parametrize("name", spread(NAMES, ("llama", "gpt2", "opt", "roberta", "mpt", "bloom")))
def test_what_fits_is_computed_and_what_does_not_is_refused(name: str, models: Path, note: Note) -> None:
    policy, _ = load(name, models, note)
    fits = policy.context or 2 * CONTEXT
    for length in (fits - 5, fits - 1, fits, fits + 1):
        prompt = text(policy, length)
        try:
            rollouts = policy.sample([prompt], 1, Sampling(max_new_tokens=8), seed=0)
            with torch.no_grad():
                assert torch.allclose(policy.logprobs(rollouts), rollouts.logprobs, atol=1e-3), length
        except AccordError as refusal:
            assert length >= fits
            one_line(refusal)
    answer = "5" * 4  # and its end
    for length in (fits - 5, fits - 4):
        try:
            policy.likelihood([Group(text(policy, length), (answer,))])
        except AccordError as refusal:
            assert length > fits - 5
            one_line(refusal)


def text(policy: LanguagePolicy, length: int) -> str:
    """A prompt of so many tokens."""
    made = "5" * length
    assert len(policy.tokeniser.prompt(made)) == length
    return made
