"""On one GPU, with models made from a config: ``python benchmarks/gpu.py [OUT.json]`` prints and writes what it measured.

Nothing is downloaded: a Llama of a billion weights and a U-Net of Stable Diffusion 1.5's size have random ones, which cost as
much as trained ones. Every step is a whole one of `accord.fit`; beside it stands the same with padded rows, every completion
behind a copy of its prompt, which is how other trainers compute.
"""

import gc
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
import transformers

from accord import DiffusionPolicy, LanguagePolicy, Sampling, fit
from accord.algorithms import DPO, GRPO, AlignProp
from accord.feedback import Comparison
from accord.policies.attention import NAME, _side_by_side, tree_attention
from accord.policies.diffusion import Denoising
from accord.policies.tokenise import Tokeniser
from accord.policies.tree import TokenTree
from accord.rewards import BradleyTerry
from accord.rewards.fitting import RewardFitting, fit_reward
from accord.worlds import letters

ROWS = json.loads((Path(__file__).parent / "rows.json").read_text())
STEPS = 4
LLAMA = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
         "head_dim": 64, "vocab_size": 128256, "max_position_embeddings": 8192, "rope_theta": 500000.0, "tie_word_embeddings": True}  # fmt: skip
"""Llama 3.2's of one billion weights."""
WORDS = ["the", "answer", "is", "what", "plus", "and", "it", "to", "be", "in", "of", "a"]


def text(n: int, random: Random) -> str:
    return " ".join(random.choice(WORDS) for _ in range(n))


def llama(auto: Any = transformers.AutoModelForCausalLM, **more: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**LLAMA, pad_token_id=0, bos_token_id=1, eos_token_id=2, **more)
    with torch.device("cuda"):
        return auto.from_config(config, attn_implementation=NAME, dtype=torch.bfloat16).eval()


def policy(packs: bool = True) -> LanguagePolicy:
    made = LanguagePolicy(llama(), Tokeniser(letters.build_tokenizer(), "letters"), "llama-1b")
    made.packs = packs
    made.add_lora(16, "CAUSAL_LM")
    return made


def pairs(kind: str) -> list[Comparison]:
    random = Random(0)
    return [Comparison(prompt=text(r["prompt"], random), chosen=text(r["chosen"], random), rejected=text(r["rejected"], random))
            for _ in range(STEPS) for r in ROWS[kind] * 4]  # fmt: skip


def steps(make: Callable[[], tuple[Any, Any, dict[str, Any]]]) -> dict[str, Any]:
    """Seconds of a step (the first left out), peak memory in GB, and the first loss."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    algorithm, data, options = make()
    run = (fit_reward if isinstance(algorithm, RewardFitting) else fit)(
        algorithm, data, steps=STEPS, lr=1e-6, progress=False, **options
    )
    seconds = run.column("seconds")[1:]
    return {"seconds": statistics.median(seconds), "steps_per_second": 1 / statistics.median(seconds),
            "peak_gb": torch.cuda.max_memory_allocated() / 2**30, "first_loss": run.metrics[0]["loss"]}  # fmt: skip


def length(*, completions: Any, **columns: Any) -> list[float]:
    return [float(len(c)) for c in completions]


def reward(packs: bool) -> BradleyTerry:
    made = BradleyTerry(
        llama(transformers.AutoModelForSequenceClassification, num_labels=1),
        Tokeniser(letters.build_tokenizer(), "letters"),
        "llama-1b",
    )
    made.packs = packs
    made.add_lora(16, "SEQ_CLS")
    return made


def unet() -> DiffusionPolicy:
    """A pipeline of Stable Diffusion 1.5's classes and sizes; its prompts come ready embedded from a tiny text encoder's place."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    marks = [*"abcdefghijklmnopqrstuvwxyz"]
    vocab = {t: i for i, t in enumerate([*marks, *(f"{c}</w>" for c in marks), "<|startoftext|>", "<|endoftext|>"])}
    words = CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77, pad_token="<|endoftext|>")
    with torch.device("cuda"):
        told = CLIPTextModel(CLIPTextConfig(vocab_size=len(vocab), hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                            num_attention_heads=12, eos_token_id=len(vocab) - 1, bos_token_id=len(vocab) - 2, pad_token_id=len(vocab) - 1))  # fmt: skip
        vae = AutoencoderKL(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2,
                            up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=512)  # fmt: skip
        net = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    pipe = StableDiffusionPipeline(vae, told, words, net, DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
                                   clip_sample=False, set_alpha_to_one=False, steps_offset=1), None, None, requires_safety_checker=False)  # fmt: skip
    made = DiffusionPolicy(pipe.to(dtype=torch.bfloat16), "sd15").eval()
    made.add_lora(16)
    return made


def brightness(*, completions: Any, **columns: Any) -> torch.Tensor:
    return completions.mean((1, 2, 3))


def attention() -> dict[str, Any]:
    """Ways to attend over packed trees, milliseconds forward and backward of one layer: see `policies.attention`."""
    random = Random(0)

    def ids(n: int) -> list[int]:
        return [random.randrange(100) for _ in range(n)]

    kinds = {
        "16 pairs": [(ids(r["prompt"]), [ids(r["chosen"]), ids(r["rejected"])]) for r in ROWS["ragged"] * 4],
        "2 prompts of 512 x 8 answers of 512": [(ids(512), [ids(512) for _ in range(8)]) for _ in range(2)],
    }
    return {kind: attended(TokenTree.pack(groups)) for kind, groups in kinds.items()}


def attended(tree: TokenTree) -> dict[str, Any]:
    n = len(tree)
    q, k, v = (torch.randn(1, h, n, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for h in (32, 8, 8))
    found: dict[str, Any] = {"tokens": n}
    for name, make in WAYS.items():
        try:
            way = make(tree)
            found[name] = milliseconds(lambda way=way: torch.autograd.grad(way(q, k, v).sum(), (q, k, v)))
        except Exception as error:  # one way that fails tells nothing of the others
            found[name] = f"{type(error).__name__}: {str(error)[:200]}"
    return found


Way = Callable[[Any, Any, Any], Any]


def ours(tree: TokenTree) -> Way:
    return lambda q, k, v: tree_attention(torch.nn.Module(), q, k, v, None, scaling=0.125, tree=tree)[0]


def side_by_side(tree: TokenTree) -> Way:
    return lambda q, k, v: _side_by_side(q, k, v, tree, None, 0.0, 0.125)


def dense(tree: TokenTree) -> Way:
    seen = tree.visible().cuda()
    return lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(4, 1), v.repeat_interleave(4, 1), attn_mask=seen
    )


def flex(tree: TokenTree) -> Way:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    end, n = tree.end.cuda(), len(tree)
    block = create_block_mask(lambda b, h, i, j: (j <= i) & (i < end[j]), None, None, n, n, device="cuda")
    call = torch.compile(flex_attention, dynamic=False)
    return lambda q, k, v: call(q, k, v, block_mask=block, enable_gqa=True)


WAYS: dict[str, Callable[[TokenTree], Way]] = {
    "as the policy does": ours, "one padded call": side_by_side, "one dense mask": dense, "FlexAttention": flex,
}  # fmt: skip


def milliseconds(call: Callable[[], Any], runs: int = 20) -> float:
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(runs):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / runs * 1e3


def grpo(packs: bool) -> tuple[Any, Any, dict[str, Any]]:
    random, o = Random(0), ROWS["grpo"]
    prompts = [text(512, random) for _ in range(STEPS * 4)]
    algorithm = GRPO(policy(packs), length, kl=o["kl"], group_size=8, sampling=Sampling(max_new_tokens=128))
    return algorithm, prompts, {"batch_size": 4}


def parity() -> dict[str, Any]:
    """How many of the tests pass that hold every algorithm's first step, every reward and search on this GPU against the CPU's."""
    tests = sorted(map(str, (Path(__file__).parents[1] / "tests").glob("test_devices*.py")))
    said = subprocess.run([sys.executable, "-m", "pytest", "-q", "-o", "addopts=", *tests], capture_output=True, text=True,
                          env={**os.environ, "ACCORD_DEVICE": "cuda:0"})  # fmt: skip
    last = said.stdout.strip().splitlines()[-1]
    count = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", last)}
    if "passed" not in count:
        raise RuntimeError(last)
    return {"passed": count["passed"], "failed": count.get("failed", 0) + count.get("error", 0)}


WORKS: dict[str, Callable[[], dict[str, Any]]] = {
    "dpo": lambda: steps(lambda: (DPO(policy()), pairs("ragged"), {"batch_size": 16})),
    "dpo, padded rows": lambda: steps(lambda: (DPO(policy(False)), pairs("ragged"), {"batch_size": 16})),
    "grpo": lambda: steps(lambda: grpo(True)),
    "grpo, padded rows": lambda: steps(lambda: grpo(False)),
    "reward": lambda: steps(lambda: (RewardFitting(reward(True)), pairs("ragged"), {"batch_size": 16})),
    "reward, padded rows": lambda: steps(lambda: (RewardFitting(reward(False)), pairs("ragged"), {"batch_size": 16})),
    "alignprop": lambda: steps(lambda: (AlignProp(unet(), brightness, truncation="last:2", sampling=Denoising(10, 5.0, 0.0)),
                                        ["a cat"] * 8, {"batch_size": 2})),
    "attention": attention,
    "parity": parity,
}  # fmt: skip


def main() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here: this benchmark measures one")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "gpu.json"
    found: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    for name, work in WORKS.items():
        started = time.perf_counter()
        try:
            found[name] = work()
        except Exception as error:  # the others are still worth their time
            found[name] = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        print(name, json.dumps(found[name]), f"({time.perf_counter() - started:.0f} s)", flush=True)
        out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
