"""A member that is a running ComfyUI with a workflow, spoken to over its own API."""

from __future__ import annotations

import copy
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ...rankings.errors import GalleryError
from ...rankings.gallery import Gallery, Member, Prompt
from .layouts import LayoutFolder

_PATIENCE = 600.0
# Seconds until a server that is there has answered, and between two questions whether a picture is done.
_ANSWERS, _ASKS = 30.0, 0.5


class ComfyUIMember:
    """Puts the prompt and the seed into a workflow, has it run, and takes the picture it saves."""

    def __init__(self, member: Member, gallery: Gallery) -> None:
        options = member.options
        self.url = str(options["url"]).rstrip("/")
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise GalleryError(f'"url" is {self.url!r}; write it as http://127.0.0.1:8188')
        self.patience = float(options.get("patience", _PATIENCE))
        self.workflow = _read_workflow(Path(options["workflow"]))
        self._inputs = {
            name: _find_input(self.workflow, str(options[name]), name)
            for name in ("prompt", "seed", "layout")
            if name in options
        }
        if ("layout" in options) != ("layouts" in options):
            raise GalleryError(
                '"layout" names the input that gets a layout and "layouts" their folder; give both'
            )
        folder = options.get("layouts")
        self.layouts = None if folder is None else LayoutFolder(Path(folder), gallery.size)
        self._client = uuid.uuid4().hex
        self._ask("/system_stats")

    def draw(self, prompt: Prompt, seed: int) -> Image.Image:
        values: dict[str, Any] = {"prompt": prompt.text, "seed": seed}
        if self.layouts is not None:
            values["layout"] = self.layouts.find(prompt).to_json()
        workflow = copy.deepcopy(self.workflow)
        for name, (node, key) in self._inputs.items():
            workflow[node]["inputs"][key] = values[name]
        started = self._ask("/prompt", {"prompt": workflow, "client_id": self._client})
        return self._picture(self._outputs(str(started["prompt_id"])))

    def _outputs(self, job: str) -> dict[str, Any]:
        """The outputs of a job when it is done."""
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            found = self._ask(f"/history/{job}").get(job)
            if found is not None:
                status = found.get("status", {})
                if status.get("status_str") == "error":
                    raise GalleryError(f"the workflow failed: {_failure(status.get('messages', []))}")
                return found.get("outputs", {})
            time.sleep(_ASKS)
        raise GalleryError(
            f"ComfyUI at {self.url} made no picture in {self.patience:g} s; is its queue long? Raise patience"
        )

    def _picture(self, outputs: dict[str, Any]) -> Image.Image:
        images = [image for output in outputs.values() for image in output.get("images", [])]
        # Saved ones before previews.
        images.sort(key=lambda one: one.get("type") != "output")
        if not images:
            raise GalleryError("the workflow ran and gave no picture; it needs a Save Image node")
        query = urllib.parse.urlencode(
            {key: images[0].get(key, "") for key in ("filename", "subfolder", "type")}
        )
        content = self._fetch(f"/view?{query}")
        with Image.open(BytesIO(content)) as picture:
            return picture.convert("RGB")

    def _ask(self, path: str, values: Any = None) -> Any:
        data = None if values is None else json.dumps(values).encode("utf-8")
        try:
            return json.loads(self._fetch(path, data))
        except ValueError as error:
            if isinstance(error, GalleryError):
                raise
            raise GalleryError(f"what answers at {self.url}{path} is no ComfyUI: {error}") from error

    def _fetch(self, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_ANSWERS) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise GalleryError(f"ComfyUI at {self.url} refused the workflow: {_refusal(error)}") from error
        # A server that ends while it answers.
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise GalleryError(
                f"no ComfyUI answers at {self.url} ({reason}); start it, or mend the url"
            ) from error


def _read_workflow(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GalleryError(f"the workflow {path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(
        isinstance(node, dict) and "class_type" in node and isinstance(node.get("inputs"), dict)
        for node in found.values()
    ):
        raise GalleryError(
            f"{path} is no workflow for ComfyUI's API; in ComfyUI choose Workflow, Export (API), not Export"
        )
    return found


def _find_input(workflow: dict[str, Any], name: str, option: str) -> tuple[str, str]:
    """Node and input of "6.text"; `GalleryError` lists what could be meant."""
    node, dot, key = name.rpartition(".")
    if not dot or node not in workflow:
        nodes = ", ".join(f"{number} ({one['class_type']})" for number, one in workflow.items())
        raise GalleryError(
            f'"{option}" is {name!r}; write a node and its input, as "6.text"; there are {nodes}'
        )
    inputs = workflow[node]["inputs"]
    if key not in inputs or isinstance(inputs[key], list):
        free = [one for one, value in inputs.items() if not isinstance(value, list)]
        raise GalleryError(
            f'"{option}" is {name!r}, and {workflow[node]["class_type"]} has no such input without a '
            f"link; it has {', '.join(free) or 'none'}"
        )
    return node, key


def _failure(messages: list[Any]) -> str:
    for kind, values in messages:
        if kind == "execution_error":
            return (
                f"{values.get('node_type')} (node {values.get('node_id')}): {values.get('exception_message')}"
            )
    return "ComfyUI tells no reason"


def _refusal(error: urllib.error.HTTPError) -> str:
    try:
        told = json.loads(error.read())
        nodes = [
            f"{one['class_type']} (node {number}): {fault['message']} {fault.get('details', '')}".strip()
            for number, one in told.get("node_errors", {}).items()
            for fault in one["errors"]
        ]
        return "; ".join(nodes) or str(told["error"]["message"])
    except (ValueError, KeyError, TypeError, AttributeError, OSError, http.client.HTTPException):
        return str(error)
