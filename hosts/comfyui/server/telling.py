"""Sentences that a node says after it has run, while the sampler does."""

from __future__ import annotations

import logging
from typing import Any

from .running import running_server

EVENT = "instance_composer.told"

logger = logging.getLogger("instance_composer")


def tell(node_id: Any, sentence: str) -> None:
    """A sentence for the log, and for the page that asked for the run, which shows it on the node.

    An event of our own: what newer front ends make of `send_progress_text` goes with the end of the run.
    """
    logger.info("%s", sentence)
    server = running_server()
    if server is not None and node_id is not None:
        server.send_sync(EVENT, {"node": str(node_id), "sentence": sentence}, server.client_id)
