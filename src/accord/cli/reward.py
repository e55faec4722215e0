"""accord reward: train, evaluate, score."""

from pathlib import Path
from typing import Any

from accord.cli.clips import with_frames
from accord.cli.columns import with_context
from accord.cli.data import at_least_one, first_process, say, split
from accord.cli.embedded import rows_of
from accord.cli.heads import refuse_foreign, train_head
from accord.cli.heldout import HeldOut, of_some_prompts
from accord.cli.intake import Intake, Verdict, made_up, no_preference, of_kind, says_something
from accord.cli.lengths import fits
from accord.cli.rewards import RewardSpec, check_reward, open_reward
from accord.cli.scoring import SCORED, by_parts, scored
from accord.engine import Training
from accord.engine.fit import Resume
from accord.engine.run import write_json, write_text
from accord.errors import ConfigError, wanted
from accord.evaluation import write_report
from accord.evaluation.trust import evaluate as tested
from accord.evaluation.trust import write_card
from accord.feedback import Comparison, Feedback, Ranking, Rating, original
from accord.policies.loading import resolve
from accord.policies.placement import device_of, dtype_of
from accord.rewards import BradleyTerry, EncoderReward, SentenceEncoder, StrengthFitting
from accord.rewards.fitting import FitOptions, RewardFitting, fit_reward


def train(
    model: str,
    data: str,
    out: str,
    method: str | None = None,
    method_options: dict[str, Any] | None = None,
    lora: int | None = None,
    fitting: FitOptions = FitOptions(),
    training: Training = Training(),
    curated: bool = False,
    aspect: str | None = None,
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    limit: int | None = None,
    people: bool = False,
    known_by: int = 8,
    max_tokens: int | None = None,
    test: float = 0.1,
    split_by: str = "prompt",
    test_limit: int | None = None,
    probes: int = 32,
    gradient_checkpointing: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    resume: Resume = False,
    named: frozenset[str] = frozenset(),
) -> None:
    """Train a reward model on comparisons, rankings or ratings, and measure it on held-out prompts.

    Args:
        model: language or reward model (hub name, folder, .gguf), or encoder:NAME for a head on a frozen encoder (encoder:minilm); with a method also vision:NAME, a vision-language model.
        data: feedback: a file, or a hub dataset as name or name:split.
        out: folder of the run; the model goes to OUT/model.
        method: a published one of the catalogue that puts a head on the model's frozen features (pal …); without, Bradley-Terry and the like.
        method_options: its own, by name.
        lora: rank of adapters; none trains every weight.
        fitting: how feedback becomes a loss.
        training: how to train.
        curated: learn each pair by the target and margin that accord curate gave it; held-out ones, of those that curation kept, are judged by the labels that people gave them.
        aspect: what of ratings is learned; without, overall or the first one's first.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out.
        chat: treat text prompts as a user's message.
        limit: read at most so many records.
        people: where a pair lists votes, learn from each person's own.
        known_by: verdicts by which each held-out person is known, where the method tells people apart.
        max_tokens: leave longer records out.
        test: share of prompts held out; of people, where the method tells them apart.
        split_by: prompt, or a column whose values stay together.
        test_limit: measure on at most so many held-out pairs or ratings, evenly spread.
        probes: so many held-out pairs are asked about again (reordered, rewritten, with ploys) for the card beside the model; 0 for none.
        gradient_checkpointing: less memory for more time.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator, but for weights that train.
        resume: go on from the last checkpoint; "anyway" also with other options than the run began with.
        named: options that the call names.
    """
    at_least_one(test_limit=test_limit, max_tokens=max_tokens, lora=lora, known_by=known_by)
    wanted(probes >= 0, "probes must be at least 0", probes)
    place = device_of(device)
    dtype_of(dtype, place)
    if method is not None:
        refuse_foreign(method, named)
        train_head(method, model, data, out, method_options, training, named, columns=columns, skip_bad=skip_bad, chat=chat, limit=limit,
                   aspect=aspect, people=people, known_by=known_by, test=test, split_by=split_by, test_limit=test_limit, probes=probes,
                   device=device, dtype=dtype)  # fmt: skip
        return
    if people or method_options or "known_by" in named:
        raise ConfigError("people, known_by and method_options belong to a method: give --method")
    if model.startswith("vision:"):
        raise ConfigError(f"{model} gives features to a head: give --method (basereward …)")
    encodes = model.startswith("encoder:")
    if not encodes:
        resolve(model)
    intake = Intake.read(rows_of(data, [Comparison], training.seed, limit), columns, skip_bad, limit, chat, name=data)
    learned = of_kind((Comparison, Ranking, Rating), "a reward learns from")
    unrated = intake.narrow(aspect)
    usable = intake.sift(intake.records, learned, unrated, says_something(), no_preference, purpose="train on")
    kept, held = split(usable, test, training.seed, split_by)
    reward: Any
    if encodes:
        reward = EncoderReward(SentenceEncoder(model.partition(":")[2], device=device), seed=training.seed).to(place)
    else:
        reward = BradleyTerry.load(model, lora=lora, gradient_checkpointing=gradient_checkpointing, device=device, dtype=dtype,
                                   seed=training.seed)  # fmt: skip
    short = fits(intake, reward, max_tokens)
    people_said: list[Verdict] = [made_up] if curated else []
    kept, held = intake.sift(kept, short, purpose="train on"), intake.sift(held, short, *people_said, purpose="test on")
    if curated:
        held = Feedback(tuple(original(r) if isinstance(r, Comparison) else r for r in held))
    measures = HeldOut(intake.pairs(held), held.of(Rating), split_by, test_limit)
    intake.tell(to_train_on=len(kept), held_out=len(held))

    def measure(step: int) -> dict[str, float]:
        fresh = step == 0 and not getattr(reward, "has_opinions", True)
        return measures(None if fresh else reward)  # a fresh head's scores are all 0; no need to compute them

    info = {"title": f"Reward model from {Path(model).name}", "model": model, "data": data, "optimised": "feedback",
            **measures.sizes(), "split_by": split_by, "lora": lora, "max_tokens": max_tokens, "fitting": vars(fitting), "curated": curated}  # fmt: skip
    learner = StrengthFitting if curated else RewardFitting
    run = fit_reward(
        learner(reward, fitting), kept, out=out, training=training, resume=resume, evaluate=measure, info=info
    )
    last = run.evaluations[-1]
    result = {"before": run.evaluations[0], "after": last, **measures.sizes(), "train_records": len(kept),
              "steps": len(run.metrics), "seconds": sum(run.column("seconds")), "intake": intake.row()}  # fmt: skip
    with first_process() as first:
        if first:
            reward.save(Path(out) / "model")
            if measures.pairs:
                found = tested(
                    reward,
                    measures.pairs,
                    of_some_prompts(held, test_limit) if probes else (),
                    probes=probes,
                    clusters=measures.clusters,
                    name=f"{Path(out).name}/model",
                )
                say(f"card: {write_card(found, Path(out) / 'model', f'the held-out part of {data}')}")
            write_json(Path(out) / "result.json", result)
            say(f"report: {write_report(out)}")
            print(f"{measures.words(last)}; model in {Path(out) / 'model'}")


def score_file(
    reward: RewardSpec,
    data: str,
    out: str,
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    batch_size: int = 32,
    workers: int = 0,
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Score completions: writes one JSON line for each with its reward.

    Args:
        reward: a saved reward, a hub reward model, file.py:function, http://server, or rules, networks for pictures and judges by name.
        data: records with prompt and completion (or messages).
        out: file to write.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out.
        chat: treat text prompts as a user's message.
        batch_size: records at once.
        workers: of Ray, each of which opens the reward; the file is then read part by part and may be larger than memory. 0 scores in this process.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator.
    """
    check_reward(reward)
    at_least_one(batch_size=batch_size)
    if workers:
        found, told = by_parts(reward, data, Path(out), workers, columns=columns, skip_bad=skip_bad, chat=chat,
                               batch_size=batch_size, device=device, dtype=dtype)  # fmt: skip
        say(told)
        print(f"scores in {out}, {found.mean}")
        return
    intake = Intake.read(data, columns, skip_bad, None, chat)
    intake.change(lambda r: with_context(with_frames(r, data=data)))
    usable = intake.sift(intake.records, SCORED, purpose="score")
    opened = open_reward(reward, device, dtype)
    usable = intake.sift(usable, fits(intake, opened), purpose="score")
    intake.tell(scored=len(usable))
    found = scored(opened, usable, batch_size)
    write_text(Path(out), "\n".join(found.lines) + "\n")
    print(f"{len(found.lines)} scores in {out}, {found.mean}")
