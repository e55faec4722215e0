"""What several processes do together, case by case, in one launch; each writes what it saw: processes.py OUT."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.append(str(Path(__file__).parents[1]))

import torch
from accelerate import PartialState

import pooled
from accord import cli
from accord.algorithms import GRPO
from accord.engine import fit, gather, on_main, wait_for_all
from accord.errors import AccordError
from accord.policies import Sampling
from accord.policies.diffusion import EncodedOnce
from accord.rewards import standardise
from accord.worlds import letters
from line import DATA, Line, Picky, train, weights
from test_collaborative import cut_up
from tiny_families import pipeline

torch.set_num_threads(1)
out = Path(sys.argv[1])
saw: dict[str, object] = {"main": on_main()}  # before anything else has asked for a group
rank = PartialState().process_index


class Broken(Line):
    def experience(self, batch, step):  # type: ignore[no-untyped-def]
        if step.number == 1 and step.rank == 1:
            raise ValueError("no luck")
        step.gather(step.rank)
        return batch


class Pressed(Line):
    """Ctrl-C reaches one process alone, in its third step."""

    def experience(self, batch, step):  # type: ignore[no-untyped-def]
        if step.number == 2 and step.rank == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return batch


class Rewarded(Line):
    """Its reward carries statistics from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.reward = standardise(lambda *, prompts, completions, **columns: [float(c) for c in completions])

    def state(self):  # type: ignore[no-untyped-def]
        return self.reward.state()

    def load_state(self, state):  # type: ignore[no-untyped-def]
        self.reward.load_state(state)

    def experience(self, batch, step):  # type: ignore[no-untyped-def]
        self.reward(prompts=[""] * len(batch), completions=[r[1] for r in batch])
        return batch


def counted(algorithm):  # type: ignore[no-untyped-def]
    """Forward passes of an algorithm, as they happen."""
    seen: list[int] = []
    algorithm.register_forward_hook(lambda *_: seen.append(1))
    return seen


def said(f):  # type: ignore[no-untyped-def]
    try:
        f()
    except (AccordError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


saw["picky"] = weights(train(Picky(), steps=4, batch_size=4, micro_batch_size=1)[0])

picky = Picky()
passes = counted(picky)
train(picky, steps=4, batch_size=4, minibatches=3, micro_batch_size=1)
saw["picky passes"], saw["picky cut"] = len(passes), weights(picky)

policy = letters.policy()
only_first = GRPO(policy, lambda *, prompts, completions, **c: [None if rank else float(len(t)) for t in completions],
                  group_size=2, sampling=Sampling(max_new_tokens=4))  # fmt: skip
passes = counted(only_first)
fit(only_first, letters.tasks(4), steps=2, batch_size=4, minibatches=2, lr=1e-3, progress=False)
saw["grpo passes"], saw["grpo"] = len(passes), sum(float(p.detach().double().sum()) for p in policy.parameters())

peers = cut_up(micro_batch_size=3)
saw["peers"] = [peers.picked.tolist(), peers.leads.tolist()]

saw["nan"] = said(lambda: train(data=[*DATA[:23], (float("nan"), 1.0, 1.0)], batch_size=24, out=out / "nan"))
saw["broken"] = said(lambda: train(Broken()))
saw["pressed"] = said(lambda: train(Pressed()))
saw["unlike"] = said(lambda: train(data=DATA[: 24 - rank]))

rewarded = Rewarded()


def measure(step: int) -> dict[str, float]:
    rewarded.reward(prompts=["", ""], completions=[5.0, 7.0])
    return {"process": float(rank), "step": float(step)}


_, run = train(rewarded, evaluate=measure, evaluate_every=2, select="step", out=out / "run")
saw["evaluations"], saw["statistics"] = run.evaluations, rewarded.reward.state()["running"].tolist()
saw["gathered"] = gather(rank)
encoding = EncodedOnce(pipeline("sd"), "sd")
encoding.folder = out / "prompts"
passes = counted(encoding.text_encoders[0])
encoding.ahead(["a red cat", "a cat", "a blue hat"])
saw["encoded"] = len(passes)
if on_main():
    (out / "written").write_text("whole")
wait_for_all()
saw["read"] = (out / "written").read_text()
pooled.train(out)
learn = [
    "reward",
    "train",
    "--model",
    str(letters.WEIGHTS),
    "--data",
    str(out / "pairs.jsonl"),
    "--out",
    str(out / "reward"),
    "--lora=1",
]
with open(out / f"{rank}.said", "w") as said_of_it, contextlib.redirect_stdout(said_of_it), contextlib.redirect_stderr(said_of_it):  # fmt: skip
    saw["command"] = cli.main([*learn, "--test=0.3", "--training.steps=3", "--training.batch_size=4"])
(out / f"{rank}.json").write_text(json.dumps(saw))
