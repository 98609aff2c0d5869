"""Sentences that a node says after it has run, while the sampler does."""

from __future__ import annotations

import logging
import sys
from typing import Any

logger = logging.getLogger("instance_composer")


def tell(node_id: Any, sentence: str) -> None:
    """A sentence for the log, and on the node where a server shows one."""
    logger.info("%s", sentence)
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(sentence, node_id)
