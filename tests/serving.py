"""A small HTTP server for tests of what asks one."""

import base64
import io
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Answer = Callable[[dict[str, Any]], Any]


class Serving:
    """A server that answers what a function says of each body; an `int` beside it is its status."""

    def __init__(self, answer: Answer) -> None:
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                said = answer(body)
                status, said = said if isinstance(said, tuple) else (200, said)
                data = said.encode() if isinstance(said, str) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


def pixels(data: str) -> Tensor:
    """A picture that came as base64."""
    file = Image.open(io.BytesIO(base64.b64decode(data)))
    return torch.from_numpy(np.array(file)).permute(2, 0, 1).float() / 255
