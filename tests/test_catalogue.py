"""The catalogue: one list of all methods, which says nothing of them that isn't so."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from accord.algorithms import DPO, GRPO, PPO, RLCM, RLOO, AlignProp, InPO, Preference, SimPO, options_of
from accord.catalogue import Method, find, methods, systems
from accord.errors import ConfigError
from accord.policies import DiffusionPolicy, LanguagePolicy
from accord.policies.capabilities import Attends, Differentiable, Likelihood, Samples, States, check, lacking
from accord.reproduce.harness import claims

WORKING = [m for m in methods() if m.entry]
CLASSES = [m for m in WORKING if m.entry and m.entry.startswith("accord.algorithms") and isinstance(m.load(), type)]


def test_the_96_are_all_there_and_every_name_is_one_methods() -> None:
    assert [m.number for m in systems()] == list(range(1, 97))
    assert len({m.name for m in methods()}) == len(methods())
    assert {m.name for m in systems() if m.entry} == set(claims()), "a system works once it has a reproduction"
    assert all(m.entry and m.what for m in methods()[96:])


def test_it_has_the_cards_names(data_folder: Path) -> None:
    cards = sorted((data_folder.parent / "methods").glob("*.md"))
    assert [f"{m.number:02}-{m.name}" for m in systems()] == [c.stem for c in cards]


@pytest.mark.parametrize("method", WORKING, ids=lambda m: m.name)
def test_an_entry_leads_to_code_that_says_what_it_is_and_whose(method: Method) -> None:
    made = method.load()
    doc = inspect.getdoc(made) or ""
    assert re.search(r"arXiv \d{4}\.\d{5}", doc), "its docstring names the paper"
    assert method.arxiv in doc


@pytest.mark.parametrize("method", CLASSES, ids=lambda m: m.name)
def test_an_algorithm_lies_in_a_file_of_its_name_and_says_what_each_option_is(method: Method) -> None:
    made = method.load()
    assert Path(inspect.getfile(made)).stem in (method.name.replace("-", "_"), made.__name__.lower())
    assert not [o.name for o in options_of(made).values() if not o.help and o.name != "policy"]


def test_names_and_numbers_find_a_method_and_wrong_ones_are_answered_with_near_ones() -> None:
    assert find("raft") is find("19") is systems()[18]
    assert find("grpo").load() is GRPO
    with pytest.raises(ConfigError, match="did you mean raft"):
        find("rafft")
    with pytest.raises(ConfigError, match="planned"):
        find("magicid").load()


def test_a_signature_has_the_options_of_the_base_beside_a_methods_own() -> None:
    grpo = options_of(GRPO)
    assert list(grpo)[:3] == ["policy", "reward", "kl"]
    assert (grpo["kl"].default, grpo["kl"].kind, grpo["reward"].needed) == (0.0, float, True)
    assert grpo["steps_at_once"].default is None
    assert "denoising" in grpo["steps_at_once"].help
    assert options_of(RLOO)["group_size"].default == 4, "a method's own default comes before the base's"
    assert "credit" not in grpo, "what a method fills in itself is no option of it"
    assert "critic" in options_of(PPO)
    assert {"beta", "label_smoothing", "weight", "reference"} <= set(options_of(DPO))
    assert options_of(DPO)["store"].help.endswith("in any case."), (
        "what is said of the base's other arguments is not its"
    )
    assert not {"reference", "store"} & set(options_of(SimPO)), "it compares with none"
    assert "reference" not in options_of(RLCM)
    assert "draw" not in options_of(InPO)
    assert list(inspect.signature(GRPO).parameters) == list(grpo), "help() shows the same"


def test_what_an_option_is_for_is_read_off_shared_lines_too() -> None:
    def made(alpha: int, beta: int, gamma: int = 1) -> None:
        """Something.

        Args:
            alpha, beta: two numbers; see: elsewhere. gamma: another,
                over two lines.

        Raises:
            gamma: no.
        """

    said = {o.name: o.help for o in options_of(made).values()}
    assert said == {
        "alpha": "two numbers; see: elsewhere.",
        "beta": "two numbers; see: elsewhere.",
        "gamma": "another, over two lines.",
    }


# Capabilities.


def test_policies_have_the_capabilities_that_they_have() -> None:
    assert not lacking(LanguagePolicy, Samples) + lacking(LanguagePolicy, Likelihood) + lacking(LanguagePolicy, States)
    assert (
        not lacking(DiffusionPolicy, Samples)
        + lacking(DiffusionPolicy, Likelihood)
        + lacking(DiffusionPolicy, Differentiable)
    )
    assert lacking(LanguagePolicy, Differentiable) == ["denoise_with_grad", "schedule"]
    assert lacking(LanguagePolicy, Attends)
    assert lacking(DiffusionPolicy, States)


@pytest.mark.parametrize(
    ("algorithm", "policy"),
    [(PPO, DiffusionPolicy), (RLCM, LanguagePolicy), (InPO, LanguagePolicy), (AlignProp, LanguagePolicy)],
)
def test_a_method_refuses_a_class_of_policies_before_one_is_loaded(algorithm: type[Preference], policy: type) -> None:
    with pytest.raises(
        ConfigError, match=rf"{algorithm.__name__} wants a policy that .*: a {policy.__name__} does not"
    ):
        check(policy, algorithm.capability(), algorithm.__name__)


# The house.


def test_the_picture_of_the_house_is_what_the_code_gives() -> None:
    docs = Path(__file__).parents[1] / "docs"
    spec = importlib.util.spec_from_file_location("house", docs / "house.py")
    assert spec is not None
    assert spec.loader is not None
    drawn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawn)
    assert drawn.house() == (docs / "house.svg").read_text(), "run `make docs`"
    floor = {n: i for i, names in enumerate(drawn.floors()) for n in names}
    assert all(floor[n] > floor[m] for n, m in drawn.stairs()), "every stair leads down"
