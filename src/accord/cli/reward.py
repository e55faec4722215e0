"""accord reward: train, evaluate, score."""

from json import dumps
from pathlib import Path

import torch

from accord.cli.data import load, say, split, within
from accord.cli.rewards import check_reward, open_reward
from accord.engine import Training
from accord.engine.run import write_json, write_text
from accord.errors import ConfigError, FeedbackError
from accord.evaluation import Estimate, accuracy, write_report
from accord.feedback import Comparison, prompt_key
from accord.rewards import BradleyTerry, EncoderReward, Reward, SentenceEncoder, score
from accord.rewards.fitting import FitOptions, RewardFitting, fit_reward


def train(
    model: str,
    data: str,
    out: str,
    lora: int | None = None,
    fitting: FitOptions = FitOptions(),
    training: Training = Training(),
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    limit: int | None = None,
    max_tokens: int | None = None,
    test: float = 0.1,
    split_by: str = "prompt",
    test_limit: int | None = None,
    gradient_checkpointing: bool = False,
    resume: bool = False,
) -> None:
    """Train a reward model on comparisons, rankings or ratings, and measure it on held-out prompts.

    Args:
        model: language or reward model (hub name, folder, .gguf), or encoder:NAME for a head on a frozen encoder (encoder:minilm).
        data: feedback: a file, or a hub dataset as name or name:split.
        out: folder of the run; the model goes to OUT/model.
        lora: rank of adapters; none trains every weight.
        fitting: how feedback becomes a loss.
        training: how to train.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out.
        chat: treat text prompts as a user's message.
        limit: read at most so many records.
        max_tokens: leave longer records out.
        test: share of prompts held out.
        split_by: prompt, or a column whose values stay together.
        test_limit: measure on at most so many held-out pairs, evenly spread.
        gradient_checkpointing: less memory for more time.
        resume: go on from the last checkpoint.
    """
    kept, held = split(load(data, columns, skip_bad, limit, chat), test, training.seed, split_by)
    if model.startswith("encoder:"):
        reward: BradleyTerry | EncoderReward = EncoderReward(
            SentenceEncoder(model.partition(":")[2]), seed=training.seed
        )
    else:
        reward = BradleyTerry.load(model, lora=lora, gradient_checkpointing=gradient_checkpointing)
        kept, held = within(kept, reward.tokeniser, max_tokens), within(held, reward.tokeniser, max_tokens)
    pairs = _spread_out(held.comparisons(), test_limit)

    def measure(step: int) -> dict[str, float]:
        if step == 0 and not getattr(reward, "has_opinions", True):
            return {"accuracy": 0.5, "accuracy_low": 0.5, "accuracy_high": 0.5}  # all ties; no need to compute them
        return _row(held_out(reward, pairs, split_by))

    info = {"title": f"Reward model from {Path(model).name}", "model": model, "data": data, "optimised": "comparisons",
            "test_pairs": len(pairs), "split_by": split_by, "lora": lora, "max_tokens": max_tokens}  # fmt: skip
    run = fit_reward(
        RewardFitting(reward, fitting), kept, out=out, training=training, resume=resume, evaluate=measure, info=info
    )
    reward.save(Path(out) / "model")
    last, clusters = run.evaluations[-1], len({_cluster(p, split_by) for p in pairs})
    result = {"before": run.evaluations[0], "after": last, "test_pairs": len(pairs), "test_clusters": clusters,
              "train_records": len(kept), "steps": len(run.metrics), "seconds": sum(run.column("seconds"))}  # fmt: skip
    write_json(Path(out) / "result.json", result)
    say(f"report: {write_report(out)}")
    print(f"held-out accuracy {last['accuracy']:.3f} [{last['accuracy_low']:.3f}, {last['accuracy_high']:.3f}] on "
          f"{len(pairs)} pairs of {clusters} {split_by}s; model in {Path(out) / 'model'}")  # fmt: skip


def evaluate(
    reward: str,
    data: str,
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    limit: int | None = None,
    cluster_by: str = "prompt",
    json: bool = False,
) -> None:
    """Measure how often a reward ranks the preferred answer first.

    Args:
        reward: a saved reward, a hub reward model, or file.py:function.
        data: comparisons or rankings.
        cluster_by: what makes pairs dependent, for the interval: prompt, or a column.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out.
        chat: treat text prompts as a user's message.
        limit: read at most so many records.
        json: print JSON.
    """
    check_reward(reward)
    found = held_out(open_reward(reward), load(data, columns, skip_bad, limit, chat).comparisons(), cluster_by)
    print(dumps(found.row()) if json else f"accuracy {found} over {found.clusters} {cluster_by}s")


def score_file(
    reward: str,
    data: str,
    out: str,
    columns: dict[str, str] | None = None,
    chat: bool = False,
    batch_size: int = 32,
) -> None:
    """Score completions: writes one JSON line for each with its reward.

    Args:
        reward: a saved reward, a hub reward model, or file.py:function.
        data: records with prompt and completion (or messages).
        out: file to write.
        columns: for each field the column that holds it.
        chat: treat text prompts as a user's message.
        batch_size: records at once.
    """
    check_reward(reward)
    records = load(data, columns, False, None, chat)
    if any(not hasattr(r, "completion") for r in records):
        raise FeedbackError(f"{data}: scoring wants a prompt and one completion in each record")
    scorer = open_reward(reward)
    prompts, texts = [r.prompt for r in records], [r.completion for r in records]  # type: ignore[union-attr]
    said = score(scorer, prompts=prompts, completions=texts, batch_size=batch_size,
                 **{k: [r.columns.get(k) for r in records] for k in records[0].columns})  # fmt: skip
    lines = [dumps({"prompt": p, "completion": c, "reward": v if ok else None})
             for p, c, v, ok in zip(prompts, texts, said.values.tolist(), said.valid.tolist(), strict=True)]  # fmt: skip
    write_text(Path(out), "\n".join(lines) + "\n")
    print(f"{len(lines)} scores in {out}, mean {float(said.values[said.valid].mean()):.4g}")


def held_out(reward: Reward, pairs: list[Comparison], by: str, batch_size: int = 8) -> Estimate:
    """Accuracy on comparisons, with an interval over prompts (or the values of a column)."""
    gaps = []
    for i in range(0, len(pairs), batch_size):
        part = pairs[i : i + batch_size]
        said = score(reward, prompts=[p.prompt for p in part for _ in "12"],
                     completions=[c for p in part for c in (p.chosen, p.rejected)],
                     group=[j for j in range(len(part)) for _ in "12"])  # fmt: skip
        gaps.append(said.values[0::2] - said.values[1::2])
    return accuracy(torch.cat(gaps), [_cluster(p, by) for p in pairs])


def _cluster(pair: Comparison, by: str) -> str:
    if by == "prompt":
        return prompt_key(pair.prompt)
    if by not in pair.columns:
        raise ConfigError(f"can't group by column {by!r}: the data have {sorted(pair.columns)}")
    return str(pair.columns[by])


def _spread_out(pairs: list[Comparison], most: int | None) -> list[Comparison]:
    if most is None or len(pairs) <= most:
        return pairs
    return [pairs[i * len(pairs) // most] for i in range(most)]


def _row(found: Estimate) -> dict[str, float]:
    return {"accuracy": found.value, "accuracy_low": found.low, "accuracy_high": found.high}
