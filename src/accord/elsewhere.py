"""What other libraries call the options of here: who brings a name from there is told the one that does."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from accord.errors import ConfigError

NAMES = {
    "learning_rate": "lr",
    "max_steps": "steps",
    "max_train_steps": "steps",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size, of all processes together, and micro_batch_size",
    "train_batch_size": "batch_size, of all processes together, and micro_batch_size",
    "gradient_accumulation_steps": "micro_batch_size: rows in one forward pass",
    "lr_scheduler_type": "schedule",
    "lr_scheduler": "schedule",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup, a share of all steps",
    "lr_warmup_steps": "warmup, a share of all steps",
    "adam_beta1": "betas",
    "adam_beta2": "betas",
    "num_iterations": "inner_epochs",
    "steps_per_generation": "minibatches",
    "eval_steps": "evaluate_every",
    "save_steps": "checkpoint_every",
    "checkpointing_steps": "checkpoint_every",
    "save_total_limit": "keep",
    "report_to": "trackers",
    "output_dir": "out",
    "resume_from_checkpoint": "resume",
    "train_dataset": "data, of fit()",
    "model": "policy",
    "processing_class": "tokenizer, where the policy is loaded",
    "ref_model": "reference",
    "precompute_ref_log_probs": "store: they are always computed once",
    "peft_config": "lora, where the policy is loaded",
    "rank": "lora, where the policy is loaded",
    "gradient_checkpointing": "an option of loading the policy",
    "mixed_precision": "dtype, where the policy is loaded",
    "bf16": "dtype, where the policy is loaded",
    "num_generations": "group_size",
    "max_completion_length": "max_new_tokens of sampling",
    "max_new_tokens": "an option of sampling",
    "temperature": "an option of sampling",
    "reward_funcs": "reward: one, or a list of several, which are added up",
    "reward_weights": "weights of accord.rewards.combine",
    "args": "each option by its own name: here beta=…, and those of training in fit(…)",
    "eval_dataset": "evaluate, of fit()",
    "beta": "kl",
    "beta_dpo": "beta",
    "rpo_alpha": "eta of RPO",
    "epsilon": "clip",
    "epsilon_high": "clip_high",
    "scale_rewards": "scale",
    "loss_type": "a class for each: DPO, IPO, SimPO …; normalise of GRPO",
}
"""Options of TRL's configurations and of diffusers' scripts that have another name or place here."""


Options = TypeVar("Options")


def filled(default: Options, given: Any, what: str) -> Options:
    """Options of a dataclass as people give them: whole, or as a dict of those that differ from the default; None is the default.

    Raises:
        ConfigError: they are of another kind, or one is none of its.
    """
    kind: Any = type(default)
    if given is None or isinstance(given, kind):
        return default if given is None else given
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what} wants a {kind.__name__}, or a dict of its options, but got {_seen(given)}")
    refuse_unknown(what, given, [f.name for f in fields(kind)])
    return replace(default, **given)  # type: ignore[type-var]


def _seen(given: Any) -> str:
    return repr(given) if isinstance(given, str | int | float) else f"a {type(given).__name__}"


def refuse_unknown(who: str, given: Iterable[str], known: Collection[str], names: Mapping[str, str] = NAMES) -> None:
    """Raise ConfigError for the first option that isn't one, with the name that is meant, where it can be told.

    Args:
        names: of elsewhere, with those of here.
    """
    odd = next((name for name in given if name not in known), None)
    if odd is None:
        return
    near = get_close_matches(odd, known, 1)
    meant = f" (here it is {names[odd]})" if odd in names else f" (did you mean {near[0]}?)" if near else ""
    raise ConfigError(f"{who} has no option {odd!r}{meant}; it has {', '.join(known) or 'none'}")
