"""A server that ends while it answers is told as one that does not answer, not as a traceback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from instance_composer.rankings.errors import GalleryError
from instance_composer.rankings.gallery import Gallery, Member, Prompt
from instance_composer.training.gallery.comfyui_member import ComfyUIMember

WORKFLOW = {"6": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}}}


class Dying(BaseHTTPRequestHandler):
    """Says how it is, and breaks off what it answers to anything else."""

    status = 200

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self):
        self.send_response(self.status)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b'{"prompt_i')

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("status", "complaint"), [(200, "no ComfyUI answers at"), (400, "refused the workflow")]
)
def test_an_answer_that_breaks_off_is_the_members_fault(status, complaint, tmp_path):
    (tmp_path / "workflow.json").write_text(json.dumps(WORKFLOW))
    handler = type("Dying", (Dying,), {"status": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        options = {
            "url": f"http://127.0.0.1:{server.server_port}",
            "workflow": str(tmp_path / "workflow.json"),
            "prompt": "6.text",
        }
        member = Member("served", "comfyui", options)
        gallery = Gallery(tmp_path / "gallery.toml", {"served": member}, (), "base", (64, 64))
        drawer = ComfyUIMember(member, gallery)
        with pytest.raises(GalleryError, match=complaint):
            drawer.draw(Prompt("attribute", 0, "a red circle"), 0)
    finally:
        server.shutdown()
        server.server_close()
