"""Who comes from another library with its names is told those of here."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import accord
from accord import algorithms, catalogue
from accord.elsewhere import NAMES
from accord.errors import ConfigError
from accord.policies import LanguagePolicy

DOCS = Path(accord.__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ("it is lr)", {"learning_rate": 1e-5}),
        ("batch_size, of all processes", {"per_device_train_batch_size": 4}),
        ("did you mean steps", {"stepps": 4}),
    ],
)
def test_fit_tells_the_name_that_is_meant(told: str, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        accord.Training.of(None, wrong)


def test_every_told_name_is_an_option_of_something_here() -> None:
    known = {f.name for c in (accord.Training, accord.Sampling) for f in fields(c)}
    for made in (accord.fit, accord.rewards.combine, LanguagePolicy.load, accord.DiffusionPolicy.load):
        known |= inspect.signature(made).parameters.keys()
    for method in catalogue.methods():
        if method.entry and method.entry.startswith("accord.algorithms:"):
            known |= algorithms.options_of(method.load()).keys()
    for name, told in NAMES.items():
        said = re.findall(r"\w+", told)
        assert name not in known or said[:2] == ["an", "option"] or name in ("beta", "rank"), name
        assert known & set(said) or said[:2] == ["an", "option"] or "DPO" in said, name


def test_the_pages_for_newcomers_list_every_one_of_them() -> None:
    pages = "".join((DOCS / f"from-{p}.md").read_text() for p in ("trl", "diffusers"))
    missing = [n for n in NAMES if not re.search(rf"\b{n}\b", pages)]
    assert missing == []
