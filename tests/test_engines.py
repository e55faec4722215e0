"""A server that samples: tokens come back as they were drawn, the adapter goes over whenever it has changed, and what differs is corrected."""

import gc
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.algorithms import GRPO, RLOO
from accord.algorithms.rollout.credit import Term, clipped
from accord.cli import main
from accord.engine import Rows, Step, fit
from accord.errors import ConfigError, RunError
from accord.policies import LanguagePolicy, Sampling
from accord.policies.engines import VLLM, SGLang
from accord.worlds import letters

SHORT = Sampling(max_new_tokens=10)
PROMPTS = ["what is 2 plus 3 ?", "call the weather tool for oslo ."]


class Server(BaseHTTPRequestHandler):
    """Speaks vLLM's and SGLang's protocols, with a policy behind them that knows the adapters it was told to load."""

    known: dict[str | None, LanguagePolicy]
    off = 0.0
    """How far its log-probs are from the truth."""
    bare = False
    """Without ends and token ids, as older servers are."""
    top_k = -1
    """What its model's generation_config says, for requests that don't."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path, found, code = self.path.removeprefix("/v1"), None, 200
        with LOCK:
            if path == "/load_lora_adapter" and body["lora_name"] in self.known:
                code, found = 400, {"error": f"The lora adapter {body['lora_name']!r} has already been loaded."}
            elif path == "/load_lora_adapter":
                self.known[body["lora_name"]] = LanguagePolicy.load(body["lora_path"], dtype="float32")
            elif path == "/unload_lora_adapter":
                del self.known[body["lora_name"]]
            elif path == "/completions" and body["model"] in self.known:
                found = self.drawn(
                    self.known[body["model"]], body["prompt"], body["n"], body["max_tokens"], body["seed"], body
                )
                found = {
                    "choices": [
                        {"token_ids": None if self.bare else i, "logprobs": {"token_logprobs": p}, "finish_reason": e}
                        for i, p, e in found
                    ]
                }
            elif path == "/generate":
                told = body["sampling_params"]
                rows = self.drawn(
                    self.known[body["lora_path"]],
                    body["input_ids"],
                    told["n"],
                    told["max_new_tokens"],
                    told["sampling_seed"],
                    told,
                )
                found = [{"meta_info": {"output_token_logprobs": [[p, i, None] for i, p in zip(ids, ps, strict=True)], "finish_reason": {"type": e}}}
                         for ids, ps, e in rows]  # fmt: skip
            else:
                code, found = 404, {"error": f"no {body.get('model')}"}
        said = json.dumps(found or "Success").encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def drawn(
        self, policy: LanguagePolicy, prompt: list[int], n: int, most: int, seed: int, told: dict[str, Any]
    ) -> list[tuple[list[int], list[float], str]]:
        with torch.no_grad():
            likeliest = told.get("top_k", self.top_k) == 1
            how = Sampling(max_new_tokens=most, temperature=0.0 if likeliest else told["temperature"])
            d = policy.continued([prompt], n, how, seed)
        rows = []
        for ids, p, m, end in zip(d.ids, d.logprobs, d.mask, d.finished, strict=True):
            rows.append((ids, (p[m] + self.off).tolist(), "stop" if end else "length"))
        return rows

    def log_message(self, *args: Any) -> None:
        pass


LOCK = threading.Lock()


@pytest.fixture
def server() -> Iterator[type[Server]]:
    made = type("Serving", (Server,), {"known": {"letters": letters.policy(), None: letters.policy()}})
    running = ThreadingHTTPServer(("127.0.0.1", 0), made)
    made.url = f"http://127.0.0.1:{running.server_port}"
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield made
    running.shutdown()


def served(url: str, kind: type[VLLM] = VLLM) -> LanguagePolicy:
    policy = LanguagePolicy.load(letters.WEIGHTS, lora=4, seed=3)
    policy.engine = kind(url, "letters")
    return policy


def engine_of(policy: LanguagePolicy) -> VLLM:
    assert isinstance(policy.engine, VLLM)
    return policy.engine


def loaded(server: Any) -> list[str]:
    return sorted(set(server.known) - {"letters", None})


def words(*, completions: Any, **columns: Any) -> list[float]:
    return [float(len(set(c.split()))) for c in completions]


@pytest.mark.parametrize("kind", [VLLM, SGLang])
def test_what_a_server_drew_is_as_likely_as_the_policy_itself_finds_it_after_every_update(
    kind: type[VLLM], server: Any
) -> None:
    policy = served(server.url, kind)
    algorithm = RLOO(policy, words, kl=0.0, group_size=2, sampling=SHORT)
    run = fit(algorithm, letters.tasks(8, seed=1), steps=3, batch_size=2, lr=5e-2, progress=False)
    assert max(run.column("engine_gap")) < 1e-4, "the server has the very weights that train"
    assert run.column("engine_weight") == pytest.approx([1.0] * 3, abs=1e-4)
    drawn = policy.sample(PROMPTS, 3, SHORT, seed=2)
    assert loaded(server) == [f"{engine_of(policy).name}-3"], "older ones are unloaded"
    before = LanguagePolicy.load(letters.WEIGHTS).logprobs(drawn)
    assert (policy.logprobs(drawn) - before).abs().max() > 1e-3, "which have moved"
    assert drawn.behaviour is not None
    assert torch.allclose(drawn.behaviour, drawn.logprobs, atol=1e-4)
    ids = drawn.actions.completion_ids
    assert [policy.tokeniser.decode(x) for x in ids] == drawn.completions
    assert torch.equal(drawn.mask.sum(-1), torch.tensor([len(x) for x in ids]))


def test_an_adapter_goes_over_only_when_it_has_changed(server: Any) -> None:
    policy = served(server.url)
    for _ in range(2):
        policy.sample(PROMPTS, 1, SHORT)
        assert loaded(server) == [f"{engine_of(policy).name}-0"]
    with torch.no_grad():
        next(iter(policy.adapter_weights().values())).data.mul_(2.0)
    policy.sample(PROMPTS, 1, SHORT)
    assert loaded(server) == [f"{engine_of(policy).name}-1"]
    assert [p.name for p in engine_of(policy).folder.iterdir()] == loaded(server), "nor does the disk fill up"


def test_engines_share_a_server_and_leave_nothing_behind(server: Any) -> None:
    first, second = served(server.url), served(server.url)
    for policy in (first, second):
        policy.sample(PROMPTS, 1, SHORT)
    assert len(loaded(server)) == 2
    del first, policy
    gc.collect()
    assert loaded(server) == [f"{engine_of(second).name}-0"]


@pytest.mark.parametrize("kind", [VLLM, SGLang])
def test_a_models_own_generation_config_does_not_cut_draws_off(kind: type[VLLM], server: Any) -> None:
    server.top_k = 1
    said = served(server.url, kind).sample(PROMPTS[:1], 16, SHORT).completions
    assert len(set(said)) > 1, "else the likeliest token alone"


@pytest.mark.parametrize("kind", [VLLM, SGLang])
def test_log_probs_are_those_at_the_temperature(kind: type[VLLM], server: Any) -> None:
    drawn = served(server.url, kind).sample(PROMPTS, 4, Sampling(max_new_tokens=10, temperature=0.6))
    assert drawn.behaviour is not None
    assert torch.allclose(drawn.behaviour, drawn.logprobs, atol=1e-4)


def test_what_the_servers_log_probs_are_off_by_is_told_and_corrected_up_to_a_bound(server: Any) -> None:
    server.off = -0.3
    policy = served(server.url)
    algorithm = GRPO(policy, words, group_size=4, sampling=SHORT, most_importance=1.2)
    step = Step(0, 0)
    given = algorithm.experience(Rows(letters.tasks(2, seed=1)), step)
    assert step.metrics["engine_gap"].value == pytest.approx(0.3, abs=1e-3)
    assert step.metrics["engine_weight"].value == pytest.approx(1.2, abs=1e-4), "e^0.3 is more"
    plain = algorithm.credit(algorithm._score(given.rollouts), given.rollouts)
    assert torch.allclose(given.terms[0].weight, 1.2 * plain[0].weight, atol=1e-5)
    with pytest.raises(ConfigError, match="most_importance must be at least 1"):
        GRPO(policy, words, most_importance=0.5)


def test_importance_weights_turn_another_policys_samples_into_ones_own_in_the_mean() -> None:
    """On three actions: sum_a mu(a) (pi/mu)(a) A(a) grad log pi(a) is the policy gradient."""
    logits = torch.tensor([0.2, -0.4, 0.5], requires_grad=True)
    mu, advantage = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([1.0, -2.0, 0.5])
    logp = logits.log_softmax(-1)
    ratio = (logp.detach().exp() / mu)[:, None]
    term = Term(clipped, advantage[:, None], torch.ones(3, 1)).weighed(ratio)
    rollouts: Any = replace(
        letters.policy().sample(PROMPTS[:1], 3, Sampling(max_new_tokens=1)), logprobs=logp.detach()[:, None]
    )
    loss = (mu[:, None] * term.surrogate(logp[:, None], rollouts, term.advantage) * term.weight).sum()
    wanted = torch.autograd.grad(-(logp.exp() * advantage).sum(), logits, retain_graph=True)[0]
    assert torch.allclose(torch.autograd.grad(loss, logits)[0], wanted, atol=1e-6)
    whole = Term(clipped, advantage, torch.ones(3)).weighed(torch.tensor([[2.0, 3.0], [1.0, 1.0], [0.5, 1.0]]))
    assert whole.weight.tolist() == [6.0, 1.0, 0.5], "an episode that counts as one has the product"


def test_a_frozen_twin_samples_by_itself_and_turns_go_through_the_server(server: Any) -> None:
    policy = served(server.url)
    base = policy.freeze("base")
    own = base.sample(PROMPTS, 2, SHORT, seed=1)
    assert own.behaviour is None
    assert own.completions == letters.policy().sample(PROMPTS, 2, SHORT, seed=1).completions
    assert policy.engine is not None
    talked = policy.sample(
        PROMPTS,
        1,
        Sampling(max_new_tokens=40),
        env=lambda p, said, c: " thank you for asking ." if "thank" not in said else None,
    )
    assert talked.behaviour is not None
    assert torch.allclose(talked.behaviour, talked.logprobs, atol=1e-4)


def test_an_end_that_a_server_leaves_out_is_put_back_and_counts_as_the_policys_own(server: Any) -> None:
    class Cut(VLLM):
        def read(self, answer: Any) -> Any:
            return [(ids[:-1], p[:-1], True) if end else (ids, p, end) for ids, p, end in super().read(answer)]

    policy = served(server.url)
    policy.engine = Cut(server.url, "letters")
    drawn = policy.sample(PROMPTS, 3, Sampling(max_new_tokens=40), seed=1)
    assert drawn.finished.any()
    for ids, end in zip(drawn.actions.completion_ids, drawn.finished.tolist(), strict=True):
        assert (ids[-1] in policy.tokeniser.ends) == end
    assert drawn.behaviour is not None
    assert torch.isfinite(drawn.behaviour).all()


def test_what_cannot_be_is_one_line(server: Any) -> None:
    whole = letters.policy()
    whole.engine = VLLM(server.url, "letters")
    with pytest.raises(ConfigError, match="takes adapters, not whole weights"):
        whole.sample(PROMPTS, 1, SHORT)
    with pytest.raises(RunError, match=r"no engine at http://127\.0\.0\.1:9"):
        served("http://127.0.0.1:9").sample(PROMPTS, 1, SHORT)
    server.bare = True
    with pytest.raises(RunError, match="returns no token ids"):
        served(server.url).sample(PROMPTS, 1, SHORT)


def test_the_command_line_trains_through_a_server_and_refuses_what_one_cannot_do(
    server: Any, tmp_path: Path, capsys: Any
) -> None:
    call = ["align", "rloo", "--policy", "letters", "--data", "letters", "--reward", f"{__file__}:words", "--test_limit", "2", "--limit", "20", "--test", "0.4",
            "--training.steps", "1", "--training.batch_size", "2", "--group_size", "2", "--sampling.max_new_tokens", "6"]  # fmt: skip
    assert main([*call, "--out", str(tmp_path / "run"), "--lora", "2", "--engine", f"vllm:{server.url}"]) == 0
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert row["engine_gap"] < 1e-4
    for engine, more, line in (
        (f"vllm:{server.url}", [], "an engine takes adapters"),
        ("tgi:http://x", ["--lora", "2"], "engine='tgi' is none of vllm, sglang"),
        ("vllm:x", ["--lora", "2"], "an engine is vllm:http"),
    ):
        assert main([*call, "--out", str(tmp_path / "none"), "--engine", engine, *more]) == 2
        assert line in capsys.readouterr().err
