"""Shared pieces of the tests: threads, tiny real models of each architecture, the data folder."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hub-")  # of the hub there is nothing but what a test puts there
os.environ.setdefault("ACCELERATE_USE_CPU", "true")  # "auto" is the CPU, whatever the machine (or a test) has beside it
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import settings
from jaxtyping import install_import_hook

with install_import_hook("accord.losses", "beartype.beartype"):
    import accord.losses  # noqa: F401  (losses are checked against their declared shapes in every test)

from accord.policies import LanguagePolicy
from accord.policies.attention import NAME
from accord.policies.tokenise import Tokeniser
from accord.rewards import BradleyTerry
from accord.worlds import letters
from serving import Answer, Serving
from two_devices import CPU, FAR, fit_on

torch.set_num_threads(1)
settings.register_profile("accord", deadline=None)  # a busy machine is no fault
settings.load_profile("accord")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


SMALL = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
SMALL |= {
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def tiny_config(architecture: str) -> transformers.PretrainedConfig:
    """A small config of a real architecture."""
    t = transformers
    if architecture == "gpt2":
        return t.GPT2Config(vocab_size=400, n_embd=32, n_layer=3, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2,
                            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)  # fmt: skip
    if architecture == "gemma3":
        return t.Gemma3TextConfig(**SMALL, head_dim=8, sliding_window=7, query_pre_attn_scalar=8,
                                  layer_types=["sliding_attention", "full_attention", "sliding_attention"])  # fmt: skip
    kinds = {
        "llama": t.LlamaConfig,
        "qwen3": t.Qwen3Config,
        "qwen2": t.Qwen2Config,
        "mistral": t.MistralConfig,
        "gemma2": t.Gemma2Config,
    }
    more = {"head_dim": 8} if architecture in ("qwen3", "gemma2") else {}
    more |= {"sliding_window": 5} if architecture == "mistral" else {}
    return kinds[architecture](**SMALL, **more)


def tiny_policy(architecture: str = "llama", *, packed: bool = True, seed: int = 0) -> LanguagePolicy:
    """An untrained policy of a real architecture with the tokeniser of letters."""
    torch.manual_seed(seed)
    config = tiny_config(architecture)
    config._attn_implementation = NAME if packed else "sdpa"
    if architecture == "gemma2":
        config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=config._attn_implementation)
    with torch.no_grad():  # default initialisation is so small that attention hardly matters
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(5)
    return LanguagePolicy(model, Tokeniser(letters.build_tokenizer(), "tiny"), architecture).eval()


def tiny_reward(seed: int = 0, width: int = 32) -> BradleyTerry:
    """Untrained as well, with a head that has opinions."""
    policy = letters.build_model(seed, width=width, layers=1)
    reward = BradleyTerry.load(policy.model, tokenizer=policy.tokeniser.inner, device="cpu")
    torch.nn.init.normal_(reward.core.score.weight, generator=torch.Generator().manual_seed(seed))
    return reward


@pytest.fixture(scope="session")
def base_policy() -> LanguagePolicy:
    """The shipped policy of letters; don't train it."""
    return letters.policy().eval()


@pytest.fixture
def data_folder() -> Path:
    """The shared data folder, or a skip that says why."""
    folder = Path(os.environ.get("ACCORD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}: set ACCORD_DATA")
    return folder


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Serving]]:
    """Starts servers that answer what a function says; who asks them again doesn't wait."""
    from accord.rewards import wire

    monkeypatch.setattr(wire, "PAUSE", 0.001)
    running: list[Serving] = []

    def start(answer: Answer) -> Serving:
        running.append(Serving(answer))
        return running[-1]

    yield start
    for one in running:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device, and `fit` on it."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # else a real one rounds convolutions
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    fit_on(FAR)
    yield FAR
    fit_on(CPU)
