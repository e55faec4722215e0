"""accord align: from feedback or a reward to a better policy."""

import inspect
from json import dumps
from pathlib import Path
from typing import Any, Literal

from accord import losses
from accord.algorithms import GRPO, KTO, PPO, RAFT, RLOO, Preference, Rollout, Supervised
from accord.cli.data import load, say, split, within
from accord.cli.rewards import RewardSpec, check_reward, open_reward
from accord.engine import Training, fit
from accord.engine.run import write_json
from accord.errors import ConfigError, FeedbackError
from accord.evaluation import Probe, accuracy, write_report
from accord.feedback import Comparison, Feedback, Label, prompt_key
from accord.policies import LanguagePolicy, Sampling
from accord.policies.loading import resolve

Method = Literal["dpo", "ipo", "simpo", "orpo", "rpo", "kto", "sft", "grpo", "rloo", "ppo", "raft"]
PAIRED = ("dpo", "ipo", "simpo", "orpo", "rpo")
ON_POLICY = {"grpo": GRPO, "rloo": RLOO, "ppo": PPO, "raft": RAFT}


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
    resume: bool = False,
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
        resume: go on from the last checkpoint.
    """
    options = options or {}
    _check(method, reward, judge, options, group_size, sampling)
    resolve(model)
    records = load(data, columns, skip_bad, limit, chat)
    _check_records(method, records)
    kept, held = split(records, test, training.seed, split_by)
    policy = LanguagePolicy.load(model, lora=lora, gradient_checkpointing=gradient_checkpointing)
    kept, held = within(kept, policy.tokeniser, max_tokens), within(held, policy.tokeniser, max_tokens)
    info = {"title": f"{method.upper()} on {Path(model).name}", "model": model, "data": data, "method": method,
            "options": options, "reward": reward, "lora": lora, "max_tokens": max_tokens}  # fmt: skip
    if method in ON_POLICY:
        more: dict[str, Any] = {} if group_size is None else {"group_size": group_size}
        made = open_reward(reward)  # type: ignore[arg-type]
        algorithm: Any = ON_POLICY[method](policy, made, sampling=sampling, **options, **more)
        watch = {"proxy": made} | ({"judge": open_reward(judge)} if judge is not None else {})
        measure: Any = Probe(policy, held[:test_limit], watch, sampling, folder=out, reference=algorithm.reference)
    elif method in PAIRED:
        algorithm = Preference(policy, method, store=reference_store, **options)  # type: ignore[arg-type]
        pairs = held.comparisons()[:test_limit]
        measure = lambda step: implicit_accuracy(algorithm, pairs, split_by)  # noqa: E731
    elif method == "kto":
        algorithm, measure = KTO(policy, store=reference_store, **options), None
    else:
        algorithm, measure = Supervised(policy), None
    rows = kept.comparisons() if method in PAIRED else list(kept)
    run = fit(algorithm, rows, training, out=out, resume=resume, evaluate=measure, info=info)
    policy.save(Path(out) / "policy")
    measured = run.evaluations or run.metrics
    result = {"before": measured[0], "after": measured[-1], "train_records": len(rows), "steps": len(run.metrics),
              "seconds": sum(run.column("seconds"))}  # fmt: skip
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


def _check(
    method: str, reward: Any, judge: Any, options: dict[str, Any], group_size: int | None, sampling: Sampling
) -> None:
    """Refuse what can't work before anything is loaded."""
    if method in ON_POLICY:
        if reward is None:
            raise ConfigError(f"{method} wants a reward: a saved model, file.py:function, or a rule (--reward)")
        sampling.check_trainable()
        known = {**_options_of(ON_POLICY[method]), **_options_of(Rollout.__init__)}
    else:
        if reward is not None:
            raise ConfigError(
                f"{method} learns from feedback, not from a reward: leave --reward out, or take grpo, rloo, ppo or raft"
            )
        if group_size is not None:
            raise ConfigError(f"{method} draws no answers: leave --group_size out")
        known = _options_of(
            {**{m: getattr(losses, m) for m in PAIRED}, "kto": KTO.__init__, "sft": lambda: None}[method]
        )
    odd = sorted(set(options) - set(known))
    if odd:
        raise ConfigError(f"{method} has no option {odd[0]!r}; it has {', '.join(sorted(known)) or 'none'}")
    for spec in (reward, judge):
        if spec is not None:
            check_reward(spec)


def _options_of(function: Any) -> dict[str, Any]:
    skip = {
        "self",
        "policy",
        "reward",
        "c",
        "r",
        "sampling",
        "options",
        "group_size",
        "credit",
        "critic",
        "reference",
        "store",
    }
    return {n: p for n, p in inspect.signature(function).parameters.items() if n not in skip}


def _check_records(method: str, records: Feedback) -> None:
    if method in PAIRED:
        records.comparisons()
    elif method == "kto" and not records.of(Label):
        raise FeedbackError(
            "kto wants labelled completions: prompt, completion and label (true or false) in each record"
        )
