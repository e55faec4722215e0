"""Lean layers against the plain ones they stand in for."""

import copy
from collections.abc import Callable

import pytest
import torch
from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from peft import LoraConfig, get_peft_model
from torch import nn

from accord.policies import Sampling, fused
from accord.policies.base import Group
from accord.policies.diffusion import fused as fused_pictures
from accord.policies.fused import _GatedDown, _RMSNorm
from accord.worlds import letters
from conftest import tiny_policy
from tiny_pipelines import vae

PROMPTS = ["what is 2 plus 3 ?", "call the news tool for oslo .", "tell me how to hack a bank ."]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "mistral"])
def test_layers_that_keep_fewer_activations_give_the_same_numbers_and_gradients(architecture: str) -> None:
    lean, plain = tiny_policy(architecture), tiny_policy(architecture)
    fused.lean(lean.core)
    groups = [Group(p, ("the answer is 5 .", "i admire you .")) for p in PROMPTS]
    kept = []
    for policy in (lean, plain):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            said = policy.likelihood(groups).policy
        said.sum().backward()
        kept.append(sum(sizes))
    assert kept[0] < 0.8 * kept[1]
    assert torch.allclose(lean.likelihood(groups).policy, plain.likelihood(groups).policy, atol=1e-5)
    for p, q in zip(lean.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, atol=1e-4, rtol=1e-3)  # type: ignore[arg-type]
    ours, theirs = (p.sample(list(PROMPTS), 4, Sampling(max_new_tokens=9), seed=3) for p in (lean, plain))
    assert ours.completions == theirs.completions
    assert torch.allclose(ours.logprobs, theirs.logprobs, atol=1e-5)


def test_lean_layers_against_finite_differences() -> None:
    torch.manual_seed(0)
    x, w, gate, up, down = (
        torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((3, 5), (5,), (3, 6), (3, 6), (4, 6))
    )
    assert torch.autograd.gradcheck(_GatedDown.apply, (gate, up, down))
    ours = _RMSNorm.apply(x.float(), w.float(), 1e-6)
    wanted = torch.nn.functional.rms_norm(x.float(), (5,), w.float(), 1e-6)
    assert torch.allclose(ours, wanted, atol=1e-6)
    weights = torch.randn(3, 5)
    grads = [torch.autograd.grad((y * weights).sum(), (x, w), retain_graph=True) for y in (ours, wanted)]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*grads, strict=True))


def test_adapters_on_the_projections_still_get_their_gradient() -> None:
    policy = letters.policy().train()
    policy.add_lora(4, "CAUSAL_LM")
    policy.likelihood([Group(PROMPTS[0], ("the answer is 5 .",))]).policy.sum().backward()
    missing = [
        n
        for n, p in policy.named_parameters()
        if p.requires_grad and (p.grad is None or ("lora_B" in n and not p.grad.any()))
    ]
    assert not missing


def resnet(**options: object) -> nn.Module:
    return ResnetBlock2D(in_channels=8, out_channels=12, temb_channels=6, groups=4, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    "make", [resnet, lambda: resnet(up=True), lambda: resnet(dropout=0.5), lambda: GEGLU(8, 5), lambda: nn.Conv2d(8, 3, 3, 2, 1)]
)  # fmt: skip
def test_lean_layers_of_pictures_are_the_plain_ones(make: Callable[[], nn.Module], last: bool, frozen: bool) -> None:
    torch.manual_seed(0)
    plain = make().double().requires_grad_(not frozen)
    for p in plain.parameters():
        nn.init.normal_(p, 0.3, 0.5)
    lean = copy.deepcopy(plain)
    fused_pictures.lean(lean)
    x = torch.randn(3, 8, 6, 6, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last) if last else x
    inputs = [x.movedim(1, -1)] if isinstance(plain, GEGLU) else [x]
    if isinstance(plain, ResnetBlock2D):
        inputs.append(torch.randn(3, 6, dtype=torch.float64))
    found = []
    for model in (lean, plain):
        given = [t.detach().requires_grad_() for t in inputs]
        torch.manual_seed(1)
        out = model(*given)
        wanted = [*given, *(p for p in model.parameters() if p.requires_grad)]
        found.append([out, *torch.autograd.grad(out.square().sum(), wanted)])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_a_lean_block_in_half_precision_is_as_exact_as_the_plain_one() -> None:
    torch.manual_seed(0)
    exact = resnet()
    plain = copy.deepcopy(exact).bfloat16()
    lean = copy.deepcopy(plain)
    fused_pictures.lean(lean)
    x, temb = torch.randn(3, 8, 6, 6), torch.randn(3, 6)
    grads = []
    for model in (exact, plain, lean):
        dtype = next(model.parameters()).dtype
        given = x.to(dtype).requires_grad_()
        grads.append(torch.autograd.grad(model(given, temb.to(dtype)).float().square().sum(), given)[0].float())
    errors = [float((g - grads[0]).norm() / grads[0].norm()) for g in grads[1:]]
    assert errors[1] < 1.5 * errors[0]


def test_a_decoder_that_gives_gradient_keeps_half() -> None:
    torch.manual_seed(0)
    plain = vae().requires_grad_(False)
    lean = copy.deepcopy(plain)
    fused_pictures.lean(lean)
    kept, grads = [], []
    z = torch.randn(2, 4, 8, 8, requires_grad=True)
    for model in (lean, plain):
        weights, sizes = {p.data_ptr() for p in model.parameters()}, {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, s=sizes: s.update({t.data_ptr(): t.numel()}) or t, lambda t: t
        ):
            out = model.decode(z).sample
        grads.append(torch.autograd.grad(out.square().sum(), z)[0])
        kept.append(sum(size for place, size in sizes.items() if place not in weights))
    assert torch.allclose(*grads, rtol=1e-3, atol=1e-5)
    assert kept[0] < 0.5 * kept[1]


def adapted(dtype: torch.dtype = torch.float64, **options: object) -> tuple[nn.Module, nn.Module]:
    """A linear layer under a LoRA that does something, lean and plain."""
    torch.manual_seed(0)
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["0"], **options)  # type: ignore[arg-type]
    plain = get_peft_model(nn.Sequential(nn.Linear(8, 5)), config).to(dtype)
    nn.init.normal_(plain.base_model.model[0].lora_B["default"].weight)
    lean = copy.deepcopy(plain)
    fused.lean(lean)
    return lean, plain


def value_and_gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.detach().requires_grad_()
    out = model(x)
    trained = [p for p in model.parameters() if p.requires_grad]
    return [out, *torch.autograd.grad(out.square().sum(), [x, *trained])]


@pytest.mark.parametrize("rows", [3, 50])
@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"lora_bias": True}, {"bias": "lora_only"}])
def test_a_lean_lora_is_the_plain_one(rows: int, options: dict[str, object]) -> None:
    """Whichever way it goes: by the weights, where rows are many, or by the outputs; and for LoRAs of other kinds."""
    lean, plain = adapted(**options)
    x = torch.randn(2, rows, 8, dtype=torch.float64)
    for a, b in zip(value_and_gradients(lean, x), value_and_gradients(plain, x), strict=True):
        assert torch.allclose(a, b, atol=1e-12)
    with lean.disable_adapter(), plain.disable_adapter():  # type: ignore[operator]
        assert torch.equal(lean(x), plain(x))


def test_a_lean_lora_keeps_its_input_alone() -> None:
    kept = []
    for model in adapted():
        x, sizes = torch.randn(50, 8, dtype=torch.float64), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            model(x)
        kept.append(sum(sizes))
    weights = 8 * 5 + 2 * (8 + 5)
    assert kept[0] <= 50 * 8 + weights
    assert kept[0] < kept[1]


def test_a_small_lora_is_not_rounded_away() -> None:
    """In bfloat16 W + B A may be W: outputs are added up instead."""
    lean, plain = adapted(torch.bfloat16)
    for model in (lean, plain):
        with torch.no_grad():
            model.base_model.model[0].lora_B["default"].weight.mul_(1e-4)
    x = torch.randn(50, 8, dtype=torch.bfloat16)
    assert torch.equal(lean(x), plain(x))


def test_dropout_still_falls_on_the_adapters_input_alone() -> None:
    lean, plain = adapted(lora_dropout=0.5)
    x = torch.randn(50, 8, dtype=torch.float64)
    found = []
    for model in (lean, plain):
        model.train()
        torch.manual_seed(3)
        found.append(model(x))
        model.eval()
    assert torch.equal(*found)
    assert torch.allclose(lean(x), plain(x), atol=1e-12)
