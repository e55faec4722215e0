"""A reward behind a server is the reward itself; what the server does wrong is one line."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from accord.cli.rewards import check_reward, open_reward
from accord.errors import ConfigError, RewardError
from accord.rewards import Served, score


class Answers(BaseHTTPRequestHandler):
    calls = 0

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).calls += 1
        if self.path == "/tired" and self.calls % 2:
            return self.send_error(503)
        if self.path == "/no":
            return self.send_error(404)
        said: Any = {"rewards": [None if c == "" else len(c) + b for c, b in zip(asked["completions"], asked.get("bonus", [0] * 9), strict=False)]}  # fmt: skip
        body = json.dumps(said if self.path != "/odd" else [1]).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_its_numbers_are_the_rewards_with_columns_and_without_those_that_do_not_apply(url: str) -> None:
    check_reward(url)
    said = score(open_reward(url), prompts=["p"] * 3, completions=["a", "", "ccc"], bonus=[10, 0, 1])
    assert said.values.tolist() == [11.0, 0.0, 4.0]
    assert said.valid.tolist() == [True, False, True]


def test_what_it_does_wrong_is_one_line(url: str) -> None:
    ask = {"prompts": ["p"], "completions": ["a"]}
    with pytest.raises(RewardError, match="is wanted"):
        Served(f"{url}/odd")(**ask)
    before = Answers.calls
    with pytest.raises(RewardError, match="404"):
        Served(f"{url}/no")(**ask)
    assert Answers.calls == before + 1, "what is our mistake is not tried again"
    with pytest.raises(RewardError, match="does not answer"):
        Served("http://127.0.0.1:9", tries=1)(**ask)
    with pytest.raises(ConfigError, match="wants a URL"):
        Served("ftp://x")


def test_a_server_that_is_busy_is_asked_again(url: str) -> None:
    Answers.calls = 0
    assert Served(f"{url}/tired")(prompts=["p"], completions=["abc"]) == [3]
