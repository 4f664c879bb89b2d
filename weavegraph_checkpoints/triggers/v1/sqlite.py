"""The snapshot trigger on SQLite: one trigger for each case, as none may branch."""

from __future__ import annotations

from weavegraph_checkpoints.triggers.definition import Trigger

_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

_STATUS = """CASE WHEN EXISTS (
        SELECT 1 FROM json_each({frontier}) WHERE value IS NOT 'End'
      ) THEN 'resumable' ELSE 'finished' END"""

_ADVANCE = f"""
    UPDATE {{session}} SET
      revision = revision + 1,
      updated_at = {_NOW},
      status = CASE WHEN NEW.step >= last_step
        THEN {_STATUS.format(frontier="NEW.frontier")} ELSE status END,
      last_message_count = CASE WHEN NEW.step >= last_step
        THEN NEW.message_count ELSE last_message_count END,
      last_error_count = CASE WHEN NEW.step >= last_step
        THEN NEW.error_count ELSE last_error_count END,
      last_state_bytes = CASE WHEN NEW.step >= last_step
        THEN NEW.state_bytes ELSE last_state_bytes END,
      last_frontier = CASE WHEN NEW.step >= last_step
        THEN NEW.frontier ELSE last_frontier END,
      last_versions_seen = CASE WHEN NEW.step >= last_step
        THEN NEW.versions_seen ELSE last_versions_seen END,
      last_state = CASE WHEN NEW.step >= last_step
        THEN NEW.state ELSE last_state END,
      last_step = CASE WHEN NEW.step >= last_step
        THEN NEW.step ELSE last_step END
    WHERE id = NEW.session_id;
"""

_NEWEST = """FROM {step}
        WHERE {step}.session_id = {session}.id ORDER BY {step}.step DESC LIMIT 1"""

_DERIVE = f"""
      last_step = COALESCE((SELECT {{step}}.step {_NEWEST}), 0),
      status = COALESCE((SELECT {_STATUS.format(frontier="{step}.frontier")}
        {_NEWEST}), 'empty'),
      (last_message_count, last_error_count, last_state_bytes, last_frontier,
       last_versions_seen, last_state) = (SELECT message_count, error_count, state_bytes,
        frontier, versions_seen, state {_NEWEST})"""

_MOVED = "OLD.session_id <> NEW.session_id OR OLD.step <> NEW.step"


def triggers(session: str, step: str) -> list[Trigger]:
    """Return the triggers on the (unquoted) tables of sessions and steps."""
    bodies = {
        "insert": ("INSERT", "", _ADVANCE),
        "update": ("UPDATE", f"WHEN NOT ({_MOVED})", _ADVANCE),
        "move": (
            "UPDATE",
            f"WHEN {_MOVED}",
            f"""
    UPDATE {{session}} SET
      revision = revision + 1,
      updated_at = {_NOW},{_DERIVE}
    WHERE id IN (OLD.session_id, NEW.session_id);
""",
        ),
        "delete": (
            "DELETE",
            "",
            f"""
    UPDATE {{session}} SET
      revision = revision + 1,{_DERIVE}
    WHERE id = OLD.session_id AND last_step = OLD.step;
""",
        ),
    }
    return [
        _trigger(case, event, when, body, session, step)
        for case, (event, when, body) in bodies.items()
    ]


def _trigger(case: str, event: str, when: str, body: str, session: str, step: str) -> Trigger:
    name = f"{step}_snapshot_{case}"
    text = body.format(session=f'"{session}"', step=f'"{step}"')
    create = f'CREATE TRIGGER "{name}" AFTER {event} ON "{step}" {when}\nBEGIN{text}END'
    drop = f'DROP TRIGGER IF EXISTS "{name}"'
    return Trigger(name=name, create=(drop, create), drop=(drop,), body=create)
