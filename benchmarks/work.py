"""One side of one benchmark in a process of its own: ``work.py WORK (ours|peer)`` prints one JSON line.

Both sides see the same texts, made of words that are one token each, and time whole steps of the usual entry points
(`accord.fit`, `trainer.train`): sampling, rewards, reference, forward, backward, optimiser. The first step is warm-up.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))

import torch
import transformers

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

ROWS = json.loads((Path(__file__).parent / "rows.json").read_text())
STEPS: int = ROWS["steps"]


def model_folder() -> str:
    from accord.policies.loading import resolve

    return resolve("smollm2")


class Words:
    """Texts of an exact number of tokens."""

    def __init__(self) -> None:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder())
        whole = [
            t for t in tokenizer.get_vocab() if t.startswith("Ġ") and t[1:].isalpha() and t[1:].isascii() and len(t) > 3
        ]
        self.words = [" " + w[1:] for w in sorted(whole)]
        self.random = Random(ROWS["seed"])

    def text(self, n: int) -> str:
        return "".join(self.random.choice(self.words) for _ in range(n))


def pairs(kind: str) -> list[dict[str, str]]:
    """Fresh rows for every step, with the lengths of rows.json."""
    words = Words()
    return [{k: words.text(n) for k, n in row.items()} for _ in range(STEPS) for row in ROWS[kind]]


def prompts() -> list[str]:
    words = Words()
    return [words.text(ROWS["grpo"]["prompt"]) for _ in range(STEPS * ROWS["grpo"]["prompts"])]


def report(seconds: list[float], **more: Any) -> None:
    print(
        json.dumps({"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **more})
    )


def token_mean_logprobs(likelihood: Any) -> list[float]:
    return likelihood.mean.tolist()


# Ours.


def ours_dpo(kind: str, checkpointed: bool) -> None:
    from accord import LanguagePolicy, fit
    from accord.algorithms import DPO
    from accord.feedback import read
    from accord.policies.base import Group

    policy = LanguagePolicy.load(model_folder(), gradient_checkpointing=checkpointed)
    rows = read(pairs(kind)).comparisons()
    with torch.no_grad():
        found = policy.likelihood([Group(r.prompt, (r.chosen, r.rejected)) for r in rows[:4]])
    run = fit(DPO(policy), rows, steps=STEPS, batch_size=4, lr=1e-6, progress=False)
    report(run.column("seconds")[1:], logprobs=token_mean_logprobs(found))


def ours_grpo() -> None:
    from accord import LanguagePolicy, Sampling, fit
    from accord.algorithms import GRPO
    from accord.policies.base import Group

    o = ROWS["grpo"]
    policy = LanguagePolicy.load(model_folder())
    asked = prompts()
    with torch.no_grad():
        found = policy.likelihood([Group(asked[0], (asked[1],))])
    algorithm = GRPO(
        policy, length_reward, kl=o["kl"], group_size=o["completions"], sampling=Sampling(max_new_tokens=o["tokens"])
    )
    run = fit(algorithm, asked, steps=STEPS, batch_size=o["prompts"], lr=1e-6, progress=False)
    report(run.column("seconds")[1:], tokens=run.column("length")[1:], logprobs=token_mean_logprobs(found))


def ours_reward() -> None:
    from accord.feedback import read
    from accord.policies.base import Group
    from accord.rewards import BradleyTerry
    from accord.rewards.fitting import RewardFitting, fit_reward

    reward = BradleyTerry.load(model_folder())
    set_head(reward.core)
    rows = read(pairs("ragged")).comparisons()
    with torch.no_grad():
        found = reward.values_of([Group(r.prompt, (r.chosen, r.rejected)) for r in rows[:4]])[:, 0]
    run = fit_reward(RewardFitting(reward), rows, steps=STEPS, batch_size=4, lr=1e-6, progress=False)
    report(run.column("seconds")[1:], logprobs=found.tolist())


def ours_score() -> None:
    from accord.rewards import BradleyTerry, score

    prompt, texts = scoring_texts()
    reward = BradleyTerry.load(model_folder()).eval()
    set_head(reward.core)
    seconds = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        said = score(reward, prompts=[prompt] * len(texts), completions=texts, group=[0] * len(texts))
        seconds.append(time.perf_counter() - started)
    report(seconds[1:], logprobs=said.values.tolist())


def ours_matmul() -> None:
    """Share of the machine's matmul peak in a DPO step: useful floating-point operations by its time and the peak."""
    from accord import LanguagePolicy, fit
    from accord.algorithms import DPO
    from accord.feedback import read
    from accord.policies.base import Group

    policy = LanguagePolicy.load(model_folder())
    rows = read(pairs("ragged")).comparisons()
    tree = policy.tree([Group(r.prompt, (r.chosen, r.rejected)) for r in rows[:4]])
    head = policy.core.get_output_embeddings().weight.numel()
    body = sum(p.numel() for p in policy.core.parameters()) - head
    # Forward 2 operations a weight and token, backward 4, the reference's forward 2; the head at scored tokens only.
    flops = 8 * (body * len(tree) + head * len(tree.target))
    peaks = [matmul_peak()]
    run = fit(DPO(policy), rows, steps=STEPS, batch_size=4, lr=1e-6, progress=False)
    peaks.append(matmul_peak())
    seconds = run.column("seconds")[1:]
    report(seconds, share=flops / sorted(seconds)[len(seconds) // 2] / max(peaks), peak_gflops=max(peaks) / 1e9)


def matmul_peak() -> float:
    best = 0.0
    for m, k, n in ((1024, 576, 1536), (1024, 1536, 576), (2048, 2048, 2048)):
        a, b = torch.randn(m, k), torch.randn(k, n)
        a @ b
        for _ in range(8):
            started = time.perf_counter()
            a @ b
            best = max(best, 2 * m * k * n / (time.perf_counter() - started))
    return best


# The peer: TRL's trainers, transformers for scoring.


class Clock(transformers.TrainerCallback):
    """Seconds of each optimiser step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.last = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.last = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now


def peer_options(rows: int, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(), "per_device_train_batch_size": rows, "max_steps": STEPS, "learning_rate": 1e-6,
        "report_to": [], "use_cpu": True, "bf16": False, "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
        "gradient_checkpointing": False, **more,
    }  # fmt: skip


def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(model_folder())


def causal() -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(model_folder(), dtype=torch.float32)


def peer_dpo(kind: str, checkpointed: bool) -> None:
    import datasets
    from trl import DPOConfig, DPOTrainer

    clock = Clock()
    rows = pairs(kind)
    args = DPOConfig(**peer_options(4, gradient_checkpointing=checkpointed, max_length=None))
    trainer = DPOTrainer(model=causal(), ref_model=causal(), args=args, train_dataset=datasets.Dataset.from_list(rows),
                         processing_class=tokenizer(), callbacks=[clock])  # fmt: skip
    batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[i] for i in range(4)]))
    chosen, rejected = trainer.compute_ref_log_probs(trainer.ref_model, batch)
    lengths = batch["completion_mask"].sum(-1)
    sums = torch.stack([chosen, rejected], -1).flatten()
    trainer.train()
    report(clock.seconds[1:], logprobs=(sums / torch.stack(lengths.chunk(2), -1).flatten()).tolist())


def peer_grpo() -> None:
    import datasets
    from trl import GRPOConfig, GRPOTrainer

    o, clock = ROWS["grpo"], Clock()
    asked = prompts()
    n = o["prompts"] * o["completions"]
    args = GRPOConfig(**peer_options(n, num_generations=o["completions"], max_completion_length=o["tokens"], beta=o["kl"],
                                     temperature=1.0, top_p=1.0, top_k=0, scale_rewards="group", loss_type="grpo"))  # fmt: skip
    trainer = GRPOTrainer(model=causal(), reward_funcs=lambda completions, **k: length_reward(prompts=None, completions=completions),
                          args=args, train_dataset=datasets.Dataset.from_list([{"prompt": p} for p in asked]),
                          processing_class=tokenizer(), callbacks=[clock])  # fmt: skip
    t = tokenizer()
    head, tail = t(asked[0])["input_ids"], [*t(asked[1], add_special_tokens=False)["input_ids"], t.eos_token_id]
    with torch.no_grad():
        logits = trainer.model(input_ids=torch.tensor([head + tail])).logits[0, len(head) - 1 : -1].log_softmax(-1)
    trainer.train()
    found = logits.gather(-1, torch.tensor(tail)[:, None]).mean()
    lengths = trainer._metrics["train"].get("completions/mean_length", [])
    report(clock.seconds[1:], tokens=lengths[1:], logprobs=[float(found)])


def peer_reward() -> None:
    import datasets
    from trl import RewardConfig, RewardTrainer

    clock = Clock()
    model, t = classifier()
    args = RewardConfig(**peer_options(4, max_length=None))
    trainer = RewardTrainer(model=model, args=args, train_dataset=datasets.Dataset.from_list(pairs("ragged")),
                            processing_class=t, callbacks=[clock])  # fmt: skip
    batch = trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[i] for i in range(4)]))
    with torch.no_grad():
        model.eval()
        values = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    trainer.train()
    report(clock.seconds[1:], logprobs=torch.stack(values.chunk(2), -1).flatten().tolist())


def peer_score() -> None:
    prompt, texts = scoring_texts()
    model, t = classifier()
    model.eval()
    rows = [prompt + x + t.eos_token for x in texts]
    seconds = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        with torch.inference_mode():
            values = model(**t(rows, return_tensors="pt", padding=True)).logits[:, 0]
        seconds.append(time.perf_counter() - started)
    report(seconds[1:], logprobs=values.tolist())


# Shared.


def scoring_texts() -> tuple[str, list[str]]:
    words, o = Words(), ROWS["score"]
    return words.text(o["prompt"]), [words.text(o["tokens"]) for _ in range(o["completions"])]


def length_reward(*, prompts: Any, completions: list[str], **columns: Any) -> list[float]:
    return [float(len(c) % 17) for c in completions]


def classifier() -> tuple[Any, Any]:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        model_folder(), num_labels=1, dtype=torch.float32
    )
    set_head(model)
    t = tokenizer()
    t.pad_token = t.unk_token or t.bos_token
    model.config.pad_token_id = t.pad_token_id
    return model, t


def set_head(model: Any) -> None:
    """The same reward head on both sides."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.score.weight.copy_(0.02 * torch.randn(model.score.weight.shape, generator=g))


WORKS: dict[str, tuple[Any, Any]] = {
    "dpo-step": (lambda: ours_dpo("ragged", False), lambda: peer_dpo("ragged", False)),
    "dpo-step-equal": (lambda: ours_dpo("equal", False), lambda: peer_dpo("equal", False)),
    "dpo-step-checkpointed": (lambda: ours_dpo("ragged", True), lambda: peer_dpo("ragged", True)),
    "grpo-step": (ours_grpo, peer_grpo),
    "reward-step": (ours_reward, peer_reward),
    "score-16": (ours_score, peer_score),
    "matmul-share": (ours_matmul, None),
}

if __name__ == "__main__":
    WORKS[sys.argv[1]][sys.argv[2] == "peer"]()
