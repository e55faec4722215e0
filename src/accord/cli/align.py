"""accord align: from feedback or a reward to a better policy."""

from json import dumps
from pathlib import Path
from typing import Any

from accord.algorithms import Preference
from accord.cli.data import at_least_one, first_process, say, split
from accord.cli.intake import Answers, Intake, answers_of, first_answer, no_preference, of_kind, says_something
from accord.cli.lengths import fits
from accord.cli.methods import LEARNS, ON_POLICY, PAIRED, Method, check, make
from accord.cli.rewards import RewardSpec, check_reward, open_reward
from accord.engine import Training, fit
from accord.engine.fit import Resume
from accord.engine.run import write_json
from accord.evaluation import Probe, accuracy, write_report
from accord.feedback import Comparison, prompt_key
from accord.policies import LanguagePolicy, Sampling
from accord.policies.loading import resolve
from accord.policies.placement import device_of, dtype_of


def align(
    method: Method,
    model: str,
    data: str,
    out: str,
    reward: RewardSpec | None = None,
    judge: RewardSpec | None = None,
    lora: int | None = None,
    options: dict[str, Any] | None = None,
    sampling: Sampling = Sampling(),
    group_size: int | None = None,
    training: Training = Training(),
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    limit: int | None = None,
    max_tokens: int | None = None,
    test: float = 0.1,
    split_by: str = "prompt",
    test_limit: int = 64,
    reference_store: str | None = None,
    gradient_checkpointing: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    resume: Resume = False,
) -> None:
    """Align a language model: by preferences (dpo, ipo, simpo, orpo, rpo, kto), examples (sft) or a reward (grpo, rloo, ppo, raft).

    Args:
        method: which loss or credit.
        model: policy to start from: hub name, folder, adapter folder or .gguf file.
        data: feedback, examples or prompts: a file, or a hub dataset as name or name:split.
        out: folder of the run; the policy goes to OUT/policy, the report to OUT/report.html.
        reward: for on-policy methods: a saved reward, a hub reward model, file.py:function, or rules by name.
        judge: a second reward that training does not see, for the report.
        lora: rank of adapters; none trains every weight.
        options: of the method, by name (beta, kl, clip, eta …).
        sampling: how answers are drawn.
        group_size: answers to each prompt, for on-policy methods.
        training: how to train.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out.
        chat: treat text prompts as a user's message.
        limit: read at most so many records.
        max_tokens: leave longer records out.
        test: share of prompts held out.
        split_by: prompt, or a column whose values stay together.
        test_limit: measure on at most so many held-out prompts or pairs.
        reference_store: folder that keeps the reference's log-probs for later runs.
        gradient_checkpointing: less memory for more time.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator, but for weights that train.
        resume: go on from the last checkpoint; "anyway" also with other options than the run began with.
    """
    checked = check(method, options or {}, reward, judge, sampling, group_size)
    for spec in (reward, judge):
        if spec is not None:
            check_reward(spec)
    at_least_one(test_limit=test_limit, max_tokens=max_tokens, lora=lora)
    dtype_of(dtype, device_of(device))
    resolve(model)
    drawn = method in ON_POLICY
    read: Answers = first_answer if method == "sft" else answers_of
    unfit = [] if drawn else [says_something(read), *([no_preference] if method in PAIRED else [])]
    intake = Intake.read(data, columns, skip_bad, limit, chat)
    usable = intake.sift(intake.records, of_kind(LEARNS[method], f"{method} learns from"), *unfit, purpose="train on")
    kept, held = split(usable, test, training.seed, split_by)
    policy = LanguagePolicy.load(model, lora=lora, gradient_checkpointing=gradient_checkpointing, device=device, dtype=dtype,
                                 seed=training.seed)  # fmt: skip
    watch: dict[str, Any] = {name: open_reward(spec, device, dtype) for name, spec in (("proxy", reward), ("judge", judge))
                             if spec is not None}  # fmt: skip
    short = [fits(intake, policy, max_tokens, answers=read, writes=int(drawn)),
             *(fits(intake, r, writes=sampling.max_new_tokens) for r in watch.values())]  # fmt: skip
    kept, held = intake.sift(kept, *short, purpose="train on"), intake.sift(held, *short, purpose="test on")
    rows: list[Any] = intake.pairs(kept) if method in PAIRED else list(kept)
    algorithm = make(method, policy, checked, watch.get("proxy"), sampling, group_size, reference_store)
    measure: Any = None
    if drawn:
        measure = Probe(policy, held[:test_limit], watch, sampling, folder=out, reference=algorithm.reference)
    elif method in PAIRED:
        pairs = intake.pairs(held)[:test_limit]
        measure = lambda step: implicit_accuracy(algorithm, pairs, split_by)  # noqa: E731
    intake.tell(to_train_on=len(kept), held_out=len(held))
    info = {"title": f"{method.upper()} on {Path(model).name}", "model": model, "data": data, "method": method,
            "options": checked, "reward": reward, "lora": lora, "max_tokens": max_tokens}  # fmt: skip
    run = fit(algorithm, rows, training, out=out, resume=resume, evaluate=measure, info=info)
    measured = run.evaluations or run.metrics
    result = {"before": measured[0], "after": measured[-1], "train_records": len(rows), "steps": len(run.metrics),
              "seconds": sum(run.column("seconds")), "intake": intake.row()}  # fmt: skip
    with first_process() as first:
        if first:
            policy.save(Path(out) / "policy")
            write_json(Path(out) / "result.json", result)
            say(f"report: {write_report(out)}")
            print(dumps(result))


def implicit_accuracy(algorithm: Preference, pairs: list[Comparison], by: str = "prompt") -> dict[str, float]:
    """How often a policy prefers the chosen answer: by the implicit reward ``log pi/pi_ref`` (0.5 before training, as
    all its values are 0 then), and by its likelihood per token, which means something before as well."""
    gaps, plain = algorithm.evaluate(pairs)
    names = [prompt_key(p.prompt) if by == "prompt" else str(p.columns.get(by)) for p in pairs]
    row: dict[str, float] = {}
    for name, x in (("accuracy", gaps), ("likelihood_accuracy", plain)):
        found = accuracy(x, names)
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return {**row, "margin": float(gaps.mean()), "pairs": float(len(pairs))}
