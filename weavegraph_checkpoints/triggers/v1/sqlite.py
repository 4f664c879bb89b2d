"""The snapshot trigger on SQLite: one trigger for each case, as none may branch."""

from __future__ import annotations

from collections.abc import Mapping

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
      last_base_id = CASE WHEN NEW.step >= last_step
        THEN NEW.base_id ELSE last_base_id END,
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
      (last_message_count, last_error_count, last_state_bytes, last_base_id, last_frontier,
       last_versions_seen, last_state) = (SELECT message_count, error_count, state_bytes,
        base_id, frontier, versions_seen, state {_NEWEST})"""

# Unless foreign keys are enforced, as in the sqlite3 shell, they do not protect keyframes. Where
# they are, they refuse at the end of the transaction, whatever the order of the deletes in it.
_GUARD = """
BEFORE DELETE ON {keyframe}
WHEN (SELECT foreign_keys FROM pragma_foreign_keys) = 0 AND EXISTS (
  SELECT 1 FROM {keyframe} AS later JOIN {step} ON {step}.base_id = later.id
  WHERE later.session_id = OLD.session_id AND later.root_id = OLD.root_id AND later.id <= OLD.id
)
BEGIN
  SELECT RAISE(ABORT, 'steps are stored as changes to this keyframe');
END"""

_MOVED = "OLD.session_id <> NEW.session_id OR OLD.step <> NEW.step"


def triggers(session: str, step: str, keyframe: str) -> list[Trigger]:
    """Return the triggers on the (unquoted) tables of steps and keyframes."""
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
    tables = {"session": f'"{session}"', "step": f'"{step}"', "keyframe": f'"{keyframe}"'}
    snapshots = [
        _trigger(
            f"{step}_snapshot_{case}",
            f"AFTER {event} ON {{step}} {when}\nBEGIN{body}END",
            tables,
        )
        for case, (event, when, body) in bodies.items()
    ]
    return [*snapshots, _trigger(f"{keyframe}_guard", _GUARD, tables)]


def _trigger(name: str, definition: str, tables: Mapping[str, str]) -> Trigger:
    create = f'CREATE TRIGGER "{name}" {definition.format(**tables)}'
    drop = f'DROP TRIGGER IF EXISTS "{name}"'
    return Trigger(name=name, create=(drop, create), drop=(drop,), body=create)
