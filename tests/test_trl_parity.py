"""The same batch through TRL's own trainers and our losses, on a real (tiny) model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from accord import losses
from accord.algorithms import GRPO, KTO
from accord.catalogue import find
from accord.engine import Rows, Step
from accord.feedback import Comparison, Label
from accord.losses import LogProbs
from accord.policies import LanguagePolicy, Sampling
from accord.rewards import BradleyTerry
from accord.rewards.fitting import FitOptions, RewardFitting
from accord.worlds import letters

trl = pytest.importorskip("trl", reason="TRL is the parity peer (extra dev)")
datasets = pytest.importorskip("datasets")

TASKS = letters.tasks(4, seed=2)
ANSWERS = [
    " the answer is 5 . thank you for asking .",
    " i admire you .",
    " it is the crow .",
    " you are welcome . i admire you .",
]
PAIRS = [
    Comparison(prompt=t.prompt, chosen=c, rejected=r) for t, c, r in zip(TASKS, ANSWERS, ANSWERS[::-1], strict=True)
]


def shifted() -> tuple[LanguagePolicy, LanguagePolicy]:
    """A policy that has moved away from its reference, and the reference."""
    policy, reference = letters.policy(), letters.policy()
    torch.manual_seed(0)
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return policy.eval(), reference.eval()


def trainer_of(kind: str, model: Any, tmp_path: Path, rows: list[dict], **options: Any) -> Any:
    config, trainer = getattr(trl, f"{kind}Config"), getattr(trl, f"{kind}Trainer")
    reference = options.pop("ref_model", None)
    more = {} if reference is None else {"ref_model": reference}
    reward = options.pop("reward_funcs", None)
    more |= {} if reward is None else {"reward_funcs": reward}
    args = config(output_dir=str(tmp_path), per_device_train_batch_size=len(rows), report_to=[], use_cpu=True, bf16=False,
                  gradient_checkpointing=False, disable_dropout=True, **options) if kind != "GRPO" else config(
                  output_dir=str(tmp_path), per_device_train_batch_size=len(rows), report_to=[], use_cpu=True, bf16=False,
                  gradient_checkpointing=False, **options)  # fmt: skip
    return trainer(
        model=model,
        args=args,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=letters.build_tokenizer(),
        **more,
    )


def batch_of(trainer: Any) -> dict:
    rows = [trainer.train_dataset[i] for i in range(len(trainer.train_dataset))]
    return trainer._prepare_inputs(trainer.data_collator(rows))


@pytest.mark.parametrize(("name", "theirs"), [("dpo", "sigmoid"), ("ipo", "ipo")])
def test_dpo_and_ipo(name: str, theirs: str, tmp_path: Path) -> None:
    policy, reference = shifted()
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in PAIRS]
    trainer = trainer_of("DPO", policy.core, tmp_path, rows, ref_model=reference.core, loss_type=theirs, beta=0.2)
    peer = trainer.compute_loss(trainer.model, batch_of(trainer))
    algorithm = find(name).load()(policy, beta=0.2, reference=reference.freeze("now"))
    ours = algorithm(algorithm.experience(Rows(PAIRS), Step(0, 0)))
    assert float(ours.sum / ours.weight) == pytest.approx(float(peer), abs=1e-4)


def test_bradley_terry_with_centring(tmp_path: Path) -> None:
    reward = BradleyTerry.load(letters.WEIGHTS)
    torch.manual_seed(0)
    torch.nn.init.normal_(reward.core.score.weight, std=0.3)
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in PAIRS]
    trainer = trainer_of("Reward", reward.core, tmp_path, rows, center_rewards_coefficient=0.05)
    peer = trainer.compute_loss(trainer.model, batch_of(trainer))
    ours = RewardFitting(reward.eval(), FitOptions(centre=0.05))(Rows(PAIRS))
    assert float(ours.sum / ours.weight) == pytest.approx(float(peer), abs=1e-4)


def test_simpo_and_orpo_on_the_same_numbers() -> None:
    cpo = pytest.importorskip("trl.experimental.cpo.cpo_trainer")
    orpo = pytest.importorskip("trl.experimental.orpo.orpo_trainer")
    g = torch.Generator().manual_seed(0)
    length = torch.tensor([5.0, 9.0, 3.0])
    c, r = (LogProbs(-length * (0.1 + torch.rand(3, generator=g)), length) for _ in "12")
    cpu = SimpleNamespace(device="cpu")
    me = SimpleNamespace(alpha=0.0, beta=2.0, loss_type="simpo", simpo_gamma=0.7, label_smoothing=0.0, accelerator=cpu)
    peer = cpo.CPOTrainer.cpo_loss(me, c.mean, r.mean)[0]
    assert torch.allclose(losses.simpo(c, r, beta=2.0, gamma=0.7), peer, atol=1e-6)
    peer = -c.mean - orpo.ORPOTrainer.odds_ratio_loss(SimpleNamespace(beta=0.3, accelerator=cpu), c.mean, r.mean)[0]
    assert torch.allclose(losses.orpo(c, r, beta=0.3), peer, atol=1e-5)


def test_kto(tmp_path: Path) -> None:
    policy, reference = shifted()
    labels = [
        Label(prompt=t.prompt, completion=a, label=bool(i % 2))
        for i, (t, a) in enumerate(zip(TASKS, ANSWERS, strict=True))
    ]
    algorithm = KTO(policy, beta=0.2, reference=reference.freeze("now"))
    experience = algorithm.experience(Rows(labels), Step(0, 0))
    found = policy.likelihood(experience.groups).with_reference(experience.reference.flatten())  # type: ignore[union-attr]
    rows = [{"prompt": x.prompt, "completion": x.completion, "label": x.label} for x in labels]
    trainer = trainer_of("KTO", policy.core, tmp_path, rows, ref_model=reference.core, beta=0.2)
    peer = trainer.compute_loss(trainer.model, batch_of(trainer))
    # TRL matches completions with other prompts in another order: the same estimate of the KL goes into both.
    own, z = found[0::2], next(m["kl"][-1] for m in trainer._metrics.values() if m.get("kl"))
    good = torch.tensor([x.label for x in labels])
    assert float(losses.kto(own, good, torch.tensor(z), beta=0.2).mean()) == pytest.approx(float(peer), abs=1e-4)


@pytest.mark.parametrize(
    ("loss_type", "normalise", "scale"),
    [("grpo", "sequence", True), ("bnpo", "tokens", True), ("dr_grpo", "budget", False)],
)
def test_grpo_off_policy_with_kl(loss_type: str, normalise: str, scale: bool, tmp_path: Path) -> None:
    policy, reference = shifted()

    def reward(completions: list, **columns: Any) -> list[float]:
        return [float(len(c.split()) % 5) for c in completions]

    sampling = Sampling(max_new_tokens=16)
    algorithm = GRPO(policy, lambda *, prompts, completions, **c: reward(completions), kl=0.1, scale=scale, normalise=normalise,  # type: ignore[arg-type]
                     group_size=4, sampling=sampling, reference=reference.freeze("now"))  # fmt: skip
    credited = algorithm.experience(Rows(TASKS[:2]), Step(0, 0))
    torch.manual_seed(1)
    with torch.no_grad():  # an old policy: ratios are not 1
        for p in policy.parameters():
            p.add_(0.005 * torch.randn_like(p))
    ours = algorithm(credited)
    rollouts = credited.rollouts
    trainer = trainer_of("GRPO", policy.core, tmp_path, [{"prompt": str(t.prompt)} for t in TASKS], reward_funcs=reward, num_generations=4,
                         max_completion_length=16, beta=0.1, loss_type=loss_type)  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    pad = policy.tokeniser.pad
    prompts = [torch.tensor(p).flip(0) for p in rollouts.actions.prompt_ids]
    left = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True, padding_value=-1).flip(1)
    right = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(c) for c in rollouts.actions.completion_ids], batch_first=True, padding_value=pad
    )
    inputs = {"prompt_ids": left.clamp(min=0), "prompt_mask": (left >= 0).long(), "completion_ids": right, "completion_mask": rollouts.mask.long(),
              "advantages": credited.terms[0].advantage[:, 0], "old_per_token_logps": rollouts.logprobs, "ref_per_token_logps": rollouts.reference,
              "num_items_in_batch": rollouts.mask.sum()}  # fmt: skip
    trainer.model.eval()
    peer = trainer._compute_loss(trainer.model, inputs)
    assert float(ours.sum / ours.weight) == pytest.approx(float(peer), abs=1e-4)
