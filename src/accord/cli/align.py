"""accord align: from feedback or a reward to a better policy, by any method of the catalogue that trains one."""

from functools import partial
from json import dumps
from pathlib import Path
from typing import Any

from accord.algorithms import RoundMethod
from accord.algorithms.options import Option
from accord.cli.clips import are_clips, with_frames
from accord.cli.data import at_least_one, first_process, say, split
from accord.cli.embedded import rows_of
from accord.cli.intake import Intake, of_kind, says_something
from accord.cli.lengths import fits
from accord.cli.measures import measure
from accord.cli.methods import Trainer, kind_for, names
from accord.cli.policies import Size, check_policy, embedded_among, engine_of, kind_of_policy, open_policy
from accord.cli.rewards import RewardSpec, answers_of_base, check_reward, open_reward
from accord.cli.shape import Shape
from accord.engine import Training, fit
from accord.engine.fit import Resume
from accord.engine.run import write_json
from accord.engine.sharding import asked_for
from accord.errors import ConfigError
from accord.evaluation import write_report
from accord.policies import LanguagePolicy
from accord.policies.placement import device_of, dtype_of


def align(
    method: str,
    policy: str,
    data: str,
    out: str,
    reward: RewardSpec | None = None,
    judge: RewardSpec | None = None,
    lora: int | dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    sampling: Any = None,
    training: Training = Training(),
    columns: dict[str, str] | None = None,
    skip_bad: bool = False,
    chat: bool = False,
    limit: int | None = None,
    max_tokens: int | None = None,
    test: float = 0.1,
    split_by: str = "prompt",
    test_limit: int = 64,
    gradient_checkpointing: bool = False,
    size: Size = None,
    encode_once: bool = False,
    engine: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    resume: Resume = False,
) -> None:
    """Align a policy with feedback or a reward: accord align METHOD --policy P --data D [--reward R] --out O.

    Args:
        method: of the catalogue; the first word.
        policy: to start from: hub name, folder, .gguf file, diffusers pipeline, adapter folder, gymnasium:ID, or letters, portraits, room, smollm2.
        data: feedback, examples or prompts: a file, a hub dataset as name or name:split, or those of letters, portraits or room.
        out: folder of the run; the policy goes to OUT/policy, the report to OUT/report.html.
        reward: what is to grow: a saved reward, a hub reward model, file.py:function, package.module:name, or rules, networks for pictures, servers and combinations by name; a list of several is their sum.
        judge: a second reward that training does not see, for the report.
        lora: rank of adapters, or their configuration as peft has it; none trains every weight.
        options: of the method, by name.
        sampling: how completions are drawn.
        training: how to train.
        columns: for each field the column that holds it.
        skip_bad: leave malformed records out.
        chat: treat text prompts as a user's message.
        limit: read at most so many records.
        max_tokens: leave longer records out.
        test: share of prompts held out.
        split_by: prompt, or a column whose values stay together.
        test_limit: measure on at most so many held-out prompts or pairs.
        gradient_checkpointing: less memory for more time.
        size: of pictures in pixels, a side or [height, width], of clips [frames, height, width]; none is what the pipeline makes by itself.
        encode_once: keep on disk what prompts of pictures become, and text encoders off the device.
        engine: a server that draws in the policy's place and serves its model, vllm:URL or sglang:URL; wants --lora.
        device: cpu, cuda …; auto takes the accelerator, where there is one.
        dtype: float32, bfloat16 …; auto is bfloat16 on an accelerator, but for weights that train.
        resume: go on from the last checkpoint; "anyway" also with other options than the run began with.
    """
    trainer, kind, given = Trainer.find(method), check_policy(policy), dict(options or {})
    whole = trainer.shaped(reward, given)
    specs = {**({} if whole is None else {next(iter(trainer.rewards)): whole}), **{n: s for n in trainer.rewards if (s := given.pop(n, None)) is not None}}  # fmt: skip
    checked = trainer.check(kind, given, specs, sampling)
    watched = [*specs.items(), *([("judge", judge)] if judge is not None else [])]
    for _, spec in watched:
        check_reward(spec, based=trainer.draws)
    at_least_one(
        test_limit=test_limit, max_tokens=max_tokens, limit=limit, lora=lora if isinstance(lora, int) else None
    )
    server = None if engine is None else engine_of(engine, policy, kind, draws=trainer.draws, lora=lora)
    asked_for()
    dtype_of(dtype, device_of(device))
    learns, read = trainer.learns, trainer.answers
    unfit = [says_something(read), *trainer.unfit]
    intake = Intake.read(rows_of(data, learns, training.seed, limit), columns, skip_bad, limit, chat, name=data)
    if kind is not LanguagePolicy:
        intake.change(partial(with_frames, data=data))
    usable = intake.sift(intake.records, of_kind(learns, f"{trainer.name} learns from"), *unfit, purpose="train on")
    kept, held = split(usable, test, training.seed, split_by)
    made = open_policy(policy, lora=lora, gradient_checkpointing=gradient_checkpointing, device=device, dtype=dtype,
                       seed=training.seed, size=size, encode_once=encode_once)  # fmt: skip
    if hasattr(made, "pictures") and made.pictures.moves:
        whole_clips = are_clips(intake, read)
        kept, held = (
            intake.sift(kept, whole_clips, purpose="train on"),
            intake.sift(held, whole_clips, purpose="test on"),
        )
    if server is not None:
        made.engine = server
    if encode_once:
        made.ahead(r.prompt for r in [*kept, *held])
    base = answers_of_base(made, [*kept, *held], sampling, training.seed)
    opened = {name: open_reward(spec, device, dtype, base) for name, spec in watched}
    writes = getattr(sampling, "max_new_tokens", 1) if trainer.draws else 0
    short = [fits(intake, made, max_tokens, answers=read, writes=int(trainer.draws)),
             *(fits(intake, r, writes=writes) for r in opened.values())]  # fmt: skip
    kept, held = intake.sift(kept, *short, purpose="train on"), intake.sift(held, *short, purpose="test on")
    rewards = {n: opened[n] for n in specs}
    rows = intake.pairs(kept) if trainer.paired else trainer.rows(made, kept, rewards, sampling, training.seed)
    others = embedded_among(checked, trainer.policies, device=device, dtype=dtype)
    algorithm = trainer.make(made, rewards, {**checked, **others}, sampling)
    watch = {"proxy" if n == next(iter(specs), None) else n: r for n, r in opened.items()}
    tested = intake.pairs(held) if trainer.paired else held
    evaluate = measure(trainer, algorithm, tested[:test_limit], watch, sampling, folder=out, by=split_by)
    intake.tell(to_train_on=len(kept), held_out=len(held))
    info = {"title": f"{trainer.name.upper()} on {Path(policy).name}", "model": policy, "data": data, "method": trainer.name,
            "options": checked, "reward": reward, "lora": lora, "engine": engine, "size": size, "max_tokens": max_tokens}  # fmt: skip
    learn = algorithm.fit if isinstance(algorithm, RoundMethod) else partial(fit, algorithm)
    run = learn(rows, training, out=out, resume=resume, evaluate=evaluate, info=info)
    result = {"before": run.evaluations[0], "after": run.evaluations[-1], "train_records": len(rows), "steps": len(run.metrics),
              "seconds": sum(run.column("seconds")), "intake": intake.row()}  # fmt: skip
    with first_process() as first:
        if first:
            made.save(Path(out) / "policy")
            write_json(Path(out) / "result.json", result)
            say(f"report: {write_report(out)}")
            print(dumps(result))


def shape(given: dict[str, Any]) -> Shape:
    """What `accord align` takes in a call: the method's own options, its rewards, its policy's way of drawing."""
    name, policy = given.get("method"), given.get("policy")
    if name is None:
        if "help" not in given:
            raise ConfigError(f"accord align wants a method, as in: accord align dpo --policy P --data D --out O; there are {', '.join(names())}")  # fmt: skip
        return Shape(
            f"The methods, each with its own options (accord align METHOD --help): {', '.join(names())}.",
            hidden={"sampling"},
        )
    trainer = Trainer.find(str(name))
    about = f"{trainer.about} {trainer.needs}"
    hidden = set() if trainer.takes_reward else {"reward"}
    if not trainer.takes_reward and given.get("reward") is not None:
        why = "brings its own reward" if trainer.rewards else "learns from feedback, not from a reward"
        raise ConfigError(f"{trainer.name} {why}: leave --reward out, or take grpo, rloo, ddpo …")
    if not trainer.samples:
        hidden |= {"judge"}
        if given.get("judge") is not None:
            raise ConfigError(f"{trainer.name} draws no answers to be judged: leave --judge out")
    kind = kind_of_policy(policy) if isinstance(policy, str) else kind_for(trainer)
    trainer.check_policy(kind)
    more = {n: Option(n, RewardSpec | None, None, o.help) for n, o in [*trainer.rewards.items()][1:]}
    sampling = trainer.default_sampling(kind) if trainer.samples else None
    return Shape(about, {**more, **trainer.options}, sampling, hidden, trainer.name)
