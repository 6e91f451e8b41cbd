"""The name of every log event, each with the one sentence that the documentation prints.

A name is ``noun.verb``. ``PER_REQUEST`` holds those whose number grows with the traffic or with user code's
output: they go to the ``requests`` stream, so that they cannot push the lifecycle out of the ``events`` stream.
"""

from __future__ import annotations

from typing import Final

EVENTS: Final[dict[str, str]] = {}
"""Name to documentation, in the order below."""


def _event(name: str, doc: str) -> str:
    EVENTS[name] = doc
    return name


# --- processes ------------------------------------------------------------------------------------------
PROCESS_STARTING: Final = _event("process.starting", "A supervisor, router or replica process began.")
PROCESS_READY: Final = _event("process.ready", "The process finished starting and takes work.")
PROCESS_FAILED: Final = _event("process.failed", "The process could not start, or cannot go on.")
PROCESS_DRAINING: Final = _event("process.draining", "The process takes no new work and finishes what runs.")
PROCESS_STOPPED: Final = _event("process.stopped", "The process ended in good order.")
CHILD_STARTED: Final = _event("child.started", "The supervisor spawned a router or a replica.")
CHILD_READY: Final = _event("child.ready", "A child's handshake arrived.")
CHILD_EXITED: Final = _event("child.exited", "A child ended; the line gives its exit status or signal.")
CHILD_RESTARTING: Final = _event("child.restarting", "A child that died will be started again after a delay.")
CHILD_FAILED: Final = _event("child.failed", "A child could not start and is not restarted.")
CHILD_SUSPECT: Final = _event(
    "child.suspect", "A child does not answer, or is not well; if it stays so it is replaced."
)

# --- deployments ----------------------------------------------------------------------------------------
DEPLOY_APPLIED: Final = _event("deploy.applied", "A configuration was applied.")
DEPLOY_FAILED: Final = _event("deploy.failed", "A configuration could not be applied; the old one goes on.")
DEPLOY_SCALED: Final = _event("deploy.scaled", "The number of replicas was changed by hand.")

# --- links ----------------------------------------------------------------------------------------------
LINK_UP: Final = _event("link.up", "A router and a replica are connected.")
LINK_DOWN: Final = _event("link.down", "The link between a router and a replica broke.")

# --- models ---------------------------------------------------------------------------------------------
MODEL_FETCHING: Final = _event("model.fetching", "A model's files are being fetched; carries the fraction done.")
MODEL_FETCHED: Final = _event("model.fetched", "A model's files are on this machine.")
MODEL_FETCH_FAILED: Final = _event("model.fetch_failed", "A model's files could not be fetched.")
MODEL_LOADING: Final = _event("model.loading", "User code's loader was called: Loading model '1'.")
MODEL_LOADED: Final = _event("model.loaded", "The loader returned; carries load_s and size_bytes.")
MODEL_LOAD_FAILED: Final = _event("model.load_failed", "The loader raised, or took too long.")
MODEL_UNLOADING: Final = _event("model.unloading", "A model leaves memory: Unloading model '3'.")
MODEL_UNLOADED: Final = _event("model.unloaded", "The model's cleanup is done.")
MODEL_UNLOAD_FAILED: Final = _event("model.unload_failed", "The model's cleanup raised; only the log says so.")
MODEL_PINNED: Final = _event("model.pinned", "A model will not be evicted.")
MODEL_UNPINNED: Final = _event("model.unpinned", "A model may be evicted again.")

# --- requests -------------------------------------------------------------------------------------------
REQUEST_STARTED: Final = _event("request.started", "A replica began a request.")
REQUEST_FINISHED: Final = _event("request.finished", "A replica ended a request; carries ms, status and cache.")
REQUEST_FAILED: Final = _event("request.failed", "User code raised; the message holds its whole traceback.")
REQUEST_ACCESS: Final = _event("request.access", "The router's line for one answered request.")
REQUESTS_SKIPPED: Final = _event("requests.skipped", "How many request lines were sampled away.")
LOOP_BLOCKED: Final = _event("loop.blocked", "User code blocked the event loop; the message holds its stack.")

# --- user code's output ---------------------------------------------------------------------------------
OUTPUT_PRINT: Final = _event("output.print", "User code wrote a line to stdout or stderr.")
OUTPUT_LOG: Final = _event("output.log", "User code, or a library, used logging; carries logger.")

# --- the log itself -------------------------------------------------------------------------------------
LOG_LOST: Final = _event("log.lost", "How many log lines could not be written, and why; writing works again.")

PER_REQUEST: Final = frozenset(
    {REQUEST_STARTED, REQUEST_FINISHED, REQUEST_FAILED, REQUEST_ACCESS, REQUESTS_SKIPPED, OUTPUT_PRINT, OUTPUT_LOG}
)
