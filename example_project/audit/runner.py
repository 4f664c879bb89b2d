"""How a runtime uses the checkpointer: run a workflow so that it can be killed at any moment.

The workflow proceeds in supersteps. In each, the nodes of the *frontier* run concurrently on
the same state. At the *barrier* their results are merged, and one checkpoint is saved with
everything that is needed to continue. A run that dies during a superstep repeats only that
superstep.

Running a session that exists resumes it::

    for checkpoint in run("nightly-audit", AUDIT, DjangoCheckpointer()):
        print(checkpoint.step, *checkpoint.ran_nodes)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from msgspec.structs import replace

from example_project.audit.graph import Graph
from example_project.audit.task import Result, Task
from weavegraph_checkpoints import (
    Checkpoint,
    NodeKind,
    SessionState,
    VersionedState,
    restore_session_state,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

REQUEST = "Audit the Python distributions of this environment."


def run(
    session_id: str,
    graph: Graph,
    checkpointer: DjangoCheckpointer,
    *,
    request: str = REQUEST,
    concurrency_limit: int = 3,
) -> Iterator[Checkpoint]:
    """Start or resume a session, and run it until it is finished.

    Yield each checkpoint after it is saved. ``request`` and ``concurrency_limit`` are used
    for a new session. Raise ``ConcurrencyConflict`` if another process saved a step of this
    session: of two runners, only one continues.
    """
    latest = checkpointer.load_latest(session_id)
    if latest is None:
        latest = first_checkpoint(session_id, graph, request, concurrency_limit)
        checkpointer.save_with_concurrency_check(latest, 0)
        yield latest
    session = restore_session_state(latest)
    with ThreadPoolExecutor(max_workers=max(1, session.concurrency_limit)) as executor:
        while not is_finished(session):
            checkpoint = superstep(session_id, session, graph, executor)
            # With the expected step, a second runner of this session fails here and writes
            # nothing, instead of mixing its steps with ours.
            checkpointer.save_with_concurrency_check(checkpoint, session.step)
            yield checkpoint
            session = restore_session_state(checkpoint)


def first_checkpoint(
    session_id: str, graph: Graph, request: str, concurrency_limit: int
) -> Checkpoint:
    """Return step 0: the request, and the successors of Start."""
    state = VersionedState.new_with_user_message(request)
    return Checkpoint(
        session_id=session_id,
        step=0,
        state=state,
        frontier=graph.frontier_after([NodeKind.START], state),
        versions_seen={},
        concurrency_limit=concurrency_limit,
    )


def is_finished(session: SessionState | Checkpoint) -> bool:
    """Return whether no node is left to run."""
    return all(node.is_end for node in session.frontier)


def superstep(
    session_id: str, session: SessionState, graph: Graph, executor: Executor
) -> Checkpoint:
    """Run the frontier once, and return the checkpoint for the barrier.

    An exception in a node ends the run before the barrier: nothing of the superstep is
    saved, and the next run repeats it.
    """
    step, state = session.step + 1, session.state
    ran = [node for node in session.frontier if is_due(node, session, graph)]
    skipped = [node for node in session.frontier if node not in ran]
    tasks = [Task(node=node, step=step, state=state) for node in ran]
    # Results are in the order of the frontier, whichever node finishes first, so the next
    # state is deterministic.
    results = list(executor.map(lambda task: graph.nodes[task.node].run(task), tasks))
    merged = merge(state, results)
    return Checkpoint(
        session_id=session_id,
        step=step,
        state=merged,
        frontier=graph.frontier_after(ran, merged),
        versions_seen=session.versions_seen
        | {n.encode(): get_versions_seen(n, state, graph) for n in ran},
        concurrency_limit=session.concurrency_limit,
        ran_nodes=ran,
        skipped_nodes=skipped,
        updated_channels=updated_channels(state, merged),
    )


def is_due(node: NodeKind, session: SessionState, graph: Graph) -> bool:
    """Return whether a channel that the node reads has changed since the node last ran."""
    before = session.versions_seen.get(node.encode())
    return before != get_versions_seen(node, session.state, graph)


def get_versions_seen(node: NodeKind, state: VersionedState, graph: Graph) -> dict[str, int]:
    """Return the versions of the channels that a node reads."""
    versions = channel_versions(state)
    return {channel: versions[channel] for channel in graph.nodes[node].reads}


def channel_versions(state: VersionedState) -> dict[str, int]:
    """Return the version of each channel."""
    return {
        "messages": state.messages.version,
        "extra": state.extra.version,
        "errors": state.errors.version,
    }


def updated_channels(before: VersionedState, after: VersionedState) -> list[str]:
    """Return the names of the channels whose versions differ."""
    old = channel_versions(before)
    return [name for name, version in channel_versions(after).items() if version != old[name]]


def merge(state: VersionedState, results: Sequence[Result]) -> VersionedState:
    """Merge results into a state, and increment the version of each changed channel."""
    messages, extra, errors = state.messages, state.extra, state.errors
    new_messages = [message for result in results for message in result.messages]
    if new_messages:
        items = (*messages.items, *new_messages)
        messages = replace(messages, version=messages.version + 1, items=items)
    new_map = dict(extra.map)
    for result in results:
        new_map.update(result.extra)
    if new_map != extra.map:
        extra = replace(extra, version=extra.version + 1, map=new_map)
    new_errors = [error for result in results for error in result.errors]
    if new_errors:
        events = (*errors.items, *new_errors)
        errors = replace(errors, version=errors.version + 1, items=events)
    return VersionedState(messages=messages, extra=extra, errors=errors)
