"""ComfyUI's own server in a process of its own, and what a browser would ask of it. Standard library only."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Server:
    """A running server; `base` is its base directory, `log` what it printed, `started` that of its start."""

    def __init__(self, port: int, base: Path, process: subprocess.Popen[bytes]) -> None:
        self.address, self.base, self.process = f"http://127.0.0.1:{port}", base, process
        self.started = ""

    @property
    def log(self) -> str:
        return (self.base / "server.log").read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> Any:
        """The JSON value at a path."""
        return json.loads(self.read(path))

    def read(self, path: str) -> bytes:
        address = self.address + urllib.parse.quote(path)
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.read()

    def post(self, path: str, value: Any) -> tuple[int, Any]:
        """(status, JSON value) of sending a value."""
        request = urllib.request.Request(self.address + path, json.dumps(value).encode())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def run(self, prompt: dict[str, Any], seconds: float = 240) -> dict[str, Any]:
        """The history entry of an API workflow, once it has finished or failed."""
        status, answer = self.post("/prompt", {"prompt": prompt})
        assert status == 200, answer
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            history = self.get(f"/history/{answer['prompt_id']}")
            if history:
                return history[answer["prompt_id"]]
            time.sleep(0.2)
        raise TimeoutError(f"not finished after {seconds} s:\n{self.log}")


@contextmanager
def running_server(
    comfyui: Path,
    base: Path,
    packs: dict[str, Path],
    python: str = sys.executable,
    seconds: float = 240,
    options: Sequence[str] = (),
) -> Iterator[Server]:
    """A server on the CPU, below the folder `base`, with `packs` (folder name -> folder) as custom nodes."""
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    for name, folder in packs.items():
        (base / "custom_nodes" / name).symlink_to(folder, target_is_directory=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = ["--cpu", "--port", str(port), "--base-directory", str(base), "--disable-api-nodes"]
    command = [python, "main.py", *here, "--database-url", "sqlite:///:memory:", *options]
    with (base / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=comfyui, stdout=log, stderr=subprocess.STDOUT)
    server = Server(port, base, process)
    try:
        _wait_until_ready(server, seconds)
        server.started = server.log
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(server: Server, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended with {server.process.returncode}:\n{server.log}")
        try:
            server.get("/system_stats")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.3)
    raise TimeoutError(f"the server was not ready after {seconds} s:\n{server.log}")


def api_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """A workflow as the editor saves it, in the form the server runs, as the editor's own export does."""
    definitions = {one["id"]: one for one in workflow.get("definitions", {}).get("subgraphs", ())}
    links = {link[0]: (link[1], link[2]) for link in workflow["links"]}
    prompt: dict[str, Any] = {}
    Level(workflow["nodes"], links, definitions).write(prompt, object_info)
    return prompt


INPUTS = -10  # number of the inside end at which a subgraph's inputs begin


class Level:
    """The nodes of a graph or of a subgraph; `given`: where a subgraph's inputs come from."""

    def __init__(
        self,
        nodes: list[dict[str, Any]],
        links: dict[int, tuple[int, int]],
        definitions: dict[str, dict[str, Any]],
        prefix: str = "",
        given: Sequence[list[Any] | None] = (),
    ) -> None:
        self.nodes, self.links, self.definitions = nodes, links, definitions
        self.prefix, self.given = prefix, given

    def source(self, link: int | None) -> list[Any] | None:
        """[node, output] where a link comes from, through the ends of subgraphs."""
        if link is None:
            return None
        origin, slot = self.links[link]
        if origin == INPUTS:
            return self.given[slot]
        (node,) = (one for one in self.nodes if one["id"] == origin)
        if node["type"] not in self.definitions:
            return [f"{self.prefix}{origin}", slot]
        return self.inside(node).source(self.definitions[node["type"]]["outputs"][slot]["linkIds"][0])

    def inside(self, node: dict[str, Any]) -> Level:
        definition = self.definitions[node["type"]]
        links = {one["id"]: (one["origin_id"], one["origin_slot"]) for one in definition["links"]}
        given = [self.source(one.get("link")) for one in node["inputs"]]
        return Level(definition["nodes"], links, self.definitions, f"{self.prefix}{node['id']}:", given)

    def write(self, prompt: dict[str, Any], object_info: dict[str, Any]) -> None:
        for node in self.nodes:
            if node["type"] in self.definitions:
                self.inside(node).write(prompt, object_info)
            elif node["type"] in object_info:  # notes exist in the editor alone
                values = _widget_values(node, object_info[node["type"]])
                linked = {one["name"]: self.source(one.get("link")) for one in node["inputs"]}
                sources = {name: source for name, source in linked.items() if source is not None}
                prompt[f"{self.prefix}{node['id']}"] = {
                    "class_type": node["type"],
                    "inputs": {**values, **sources},
                }


def _widget_values(node: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    values = list(node["widgets_values"])
    inputs: dict[str, Any] = {}
    for name, spec in inputs_of(info):
        if _is_widget(spec):
            # A workflow saved before a widget was added has no value of it, and the page takes the default.
            if not values and name in info["input"].get("optional", {}):
                continue
            inputs[name] = values.pop(0)
            if len(spec) > 1 and spec[1].get("control_after_generate"):
                values.pop(0)
    assert not values, f"{node['type']} has {len(values)} values too many"
    return inputs


def inputs_of(info: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """(name, specification) of every input of a node, as /object_info describes it."""
    for kind in ("required", "optional"):
        yield from info["input"].get(kind, {}).items()


def _is_widget(spec: list[Any]) -> bool:
    options = spec[1] if len(spec) > 1 else {}
    plain = isinstance(spec[0], list) or spec[0] in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
    return plain and not options.get("forceInput")
