"""The nodes. Each inspects the current batch of distributions and returns its findings.

The first round inspects each distribution *alone*, the second each *together* with its
dependencies, which needs the findings of the whole first round.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from example_project.audit import distributions
from example_project.audit.distributions import InvalidMetadata
from example_project.audit.task import Result, Task
from weavegraph_checkpoints import ErrorEvent, Message

COPYLEFT = ("AGPL", "GPL", "LGPL")


def plan(names: list[str]) -> list[dict[str, Any]]:
    """Return batches of one to three distributions; each round covers all distributions."""
    size = 1 if len(names) < 12 else 2 if len(names) < 24 else 3
    batches = [names[start : start + size] for start in range(0, len(names), size)]
    return [{"round": name, "names": batch} for name in ("alone", "together") for batch in batches]


def collect(task: Task) -> Result:
    """Take the next batch and collect its metadata; plan all batches first."""
    messages: list[Message] = []
    todo = task.extra.get("todo")
    if todo is None:
        names = list(distributions.installed())
        todo = plan(names)
        text = f"Found {len(names)} distributions; inspecting them in {len(todo)} batches."
        messages.append(Message.assistant(text))
    if not todo:
        messages.append(Message.assistant("No batch is left: writing the final report."))
        return Result(messages=messages, extra={"todo": [], "batch": None})
    (current, *rest) = todo
    gather = _facts if current["round"] == "alone" else _dependency_closures
    facts, errors = gather(task, current["names"])
    batch = {"round": current["round"], "facts": facts}
    return Result(messages=messages, extra={"todo": rest, "batch": batch}, errors=errors)


def _facts(task: Task, names: list[str]) -> tuple[dict[str, Any], list[ErrorEvent]]:
    folders = distributions.installed()
    facts, errors = {}, []
    for name in names:
        try:
            facts[name] = distributions.read_facts(folders[name])
        except (InvalidMetadata, KeyError) as error:
            errors.append(_invalid_metadata(task, name, error))
    return facts, errors


def _dependency_closures(task: Task, names: list[str]) -> tuple[dict[str, Any], list[ErrorEvent]]:
    requires = task.extra["dependencies"]
    known = (name for name in names if name in requires)
    return {name: distributions.dependency_closure(name, requires) for name in known}, []


def _invalid_metadata(task: Task, name: str, error: Exception) -> ErrorEvent:
    return task.error(
        f"{name}: the metadata is invalid",
        tags=("metadata", "invalid"),
        details={"distribution": name},
        cause=str(error) if isinstance(error, InvalidMetadata) else "it is no longer installed",
    )


def licences(task: Task) -> Result:
    """Find the licence of each distribution; then the licences of its dependencies."""
    batch = task.extra["batch"]
    known: dict[str, str | None] = task.extra.get("licences", {})
    if batch["round"] == "together":
        return _licences_together(task, batch["facts"], known)
    found, messages, errors = dict(known), [], []
    for name, facts in batch["facts"].items():
        licence = distributions.get_licence(facts)
        if licence is None:
            errors.append(_unreadable(task, name, facts))
        elif licence not in found.values():
            messages.append(Message.tool(f"New licence: {licence}, of {name}."))
        found[name] = licence
    return Result(messages=messages, extra={"licences": found}, errors=errors)


def _unreadable(task: Task, name: str, facts: dict[str, Any]) -> ErrorEvent:
    license_facts = {
        key: value for key, value in facts.items() if key.startswith("license") and value
    }
    return task.error(
        f"{name}: the metadata names no single licence",
        tags=("licence", "unreadable"),
        details={"distribution": name, "version": facts["version"], **license_facts},
    )


def _licences_together(
    task: Task, closures: dict[str, list[str]], known: dict[str, str | None]
) -> Result:
    mixes, messages = dict(task.extra.get("licence_mixes", {})), []
    for name, closure in closures.items():
        mixes[name] = sorted({known.get(one) or "unknown" for one in closure})
        strict = [one for one in closure if (known.get(one) or "").startswith(COPYLEFT)]
        if strict and name not in strict:
            messages.append(Message.tool(f"{name} depends on copyleft: {', '.join(strict)}."))
    return Result(messages=messages, extra={"licence_mixes": mixes})


def sizes(task: Task) -> Result:
    """Measure the files of each distribution; then including its dependencies."""
    batch = task.extra["batch"]
    if batch["round"] == "together":
        return _sizes_together(task, batch["facts"])
    folders = distributions.installed()
    found, messages, errors = dict(task.extra.get("sizes", {})), [], []
    for name in batch["facts"]:
        try:
            size = distributions.get_size(folders[name])
        except (InvalidMetadata, KeyError) as error:
            errors.append(_invalid_metadata(task, name, error))
            continue
        if size is None:
            errors.append(
                _invalid_metadata(task, name, InvalidMetadata("it does not list its files"))
            )
            continue
        if size["bytes"] > max((one["bytes"] for one in found.values()), default=0):
            text = f"The largest so far: {name}, {megabytes(size['bytes'])}."
            messages.append(Message.tool(text))
        found[name] = size
    return Result(messages=messages, extra={"sizes": found}, errors=errors)


def _sizes_together(task: Task, closures: dict[str, list[str]]) -> Result:
    alone = task.extra.get("sizes", {})
    found, messages = dict(task.extra.get("sizes_together", {})), []
    for name, closure in closures.items():
        total = sum(alone[one]["bytes"] for one in closure if one in alone)
        if total > max(found.values(), default=0):
            text = f"The largest so far, with dependencies: {name}, {megabytes(total)}."
            messages.append(Message.tool(text))
        found[name] = total
    return Result(messages=messages, extra={"sizes_together": found})


def dependencies(task: Task) -> Result:
    """List the requirements of each distribution; then the distributions that require it."""
    batch = task.extra["batch"]
    requires: dict[str, list[str]] = task.extra.get("dependencies", {})
    if batch["round"] == "together":
        needed_by = dict(task.extra.get("needed_by", {}))
        for name in batch["facts"]:
            needed_by[name] = sorted(one for one, needs in requires.items() if name in needs)
        return Result(extra={"needed_by": needed_by})
    folders = distributions.installed()
    found, messages = dict(requires), []
    for name, facts in batch["facts"].items():
        found[name] = distributions.get_requirements(facts)
        missing = [one for one in found[name] if one not in folders]
        if missing:
            messages.append(Message.tool(f"{name} lacks {', '.join(missing)}."))
    return Result(messages=messages, extra={"dependencies": found})


def report(task: Task) -> Result:
    """Summarize the findings; add a message in the last step."""
    known = task.extra.get("licences", {})
    total = sum(size["bytes"] for size in task.extra.get("sizes", {}).values())
    counts = Counter(licence or "unknown" for licence in known.values())
    summary = {
        "distributions": len(known),
        "bytes": total,
        "licences": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        "errors": len(task.state.errors.items),
    }
    text = (
        f"Audit finished: {len(known)} distributions, {megabytes(total)}, "
        f"{len(counts)} licences, {summary['errors']} errors."
    )
    finished = task.extra["batch"] is None
    return Result(messages=[Message.assistant(text)] if finished else [], extra={"report": summary})


def megabytes(size: int) -> str:
    """Return a size in megabytes, with its unit."""
    return f"{size / 1_000_000:.1f} MB"
