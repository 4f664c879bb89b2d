"""The snapshot trigger on MariaDB: assignments run left to right on new values."""

from __future__ import annotations

from weavegraph_checkpoints.triggers.definition import Trigger

_STATUS = """CASE WHEN JSON_CONTAINS('["End"]', {frontier})
      THEN 'finished' ELSE 'resumable' END"""

_ADVANCE = f"""
    UPDATE {{session}} SET
      revision = revision + 1,
      updated_at = UTC_TIMESTAMP(6),
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
      last_step = GREATEST(NEW.step, last_step)
    WHERE id = NEW.session_id;
"""

_LOCALS = """
    DECLARE stored_step, newest_step BIGINT UNSIGNED;
    DECLARE messages, errors, bytes BIGINT UNSIGNED;
    DECLARE base BIGINT;
    DECLARE nodes, seen, document LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
    DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
"""

# A locking read sees what was committed last, at every isolation level.
_READ_NEWEST = """
    SELECT step, message_count, error_count, state_bytes, base_id,
      frontier, versions_seen, state
      INTO newest_step, messages, errors, bytes, base, nodes, seen, document
      FROM {step} WHERE session_id = {id} ORDER BY step DESC LIMIT 1 LOCK IN SHARE MODE;
"""

_DERIVE = f"""
      last_step = COALESCE(newest_step, 0),
      status = CASE WHEN newest_step IS NULL THEN 'empty'
        ELSE {_STATUS.format(frontier="nodes")} END,
      last_message_count = messages,
      last_error_count = errors,
      last_state_bytes = bytes,
      last_base_id = base,
      last_frontier = nodes,
      last_versions_seen = seen,
      last_state = document"""

_DELETE = f"""
  BEGIN{_LOCALS}
    SELECT last_step INTO stored_step FROM {{session}}
      WHERE id = OLD.session_id FOR UPDATE;
    IF stored_step = OLD.step THEN{_READ_NEWEST.replace("{id}", "OLD.session_id")}
    UPDATE {{session}} SET
      revision = revision + 1,{_DERIVE}
    WHERE id = OLD.session_id;
    END IF;
  END"""

_TOUCH = f"""
    UPDATE {{session}} SET
      revision = revision + 1,
      updated_at = UTC_TIMESTAMP(6),{_DERIVE}
    WHERE id = {{id}};
"""

_CLEAR = """
    SET newest_step = NULL, messages = NULL, errors = NULL, bytes = NULL, base = NULL,
      nodes = NULL, seen = NULL, document = NULL;
"""

_UPDATE = f"""
  BEGIN{_LOCALS}
    IF OLD.session_id = NEW.session_id AND OLD.step = NEW.step THEN{_ADVANCE}
    ELSE
    SELECT last_step INTO stored_step FROM {{session}}
      WHERE id = LEAST(OLD.session_id, NEW.session_id) FOR UPDATE;
    SELECT last_step INTO stored_step FROM {{session}}
      WHERE id = GREATEST(OLD.session_id, NEW.session_id) FOR UPDATE;
{(_READ_NEWEST + _TOUCH).replace("{id}", "NEW.session_id")}
    IF OLD.session_id <> NEW.session_id THEN
{(_CLEAR + _READ_NEWEST + _TOUCH).replace("{id}", "OLD.session_id")}
    END IF;
    END IF;
  END"""


def triggers(session: str, step: str, keyframe: str) -> list[Trigger]:
    """Return the triggers on the (unquoted) table of steps."""
    bodies = {
        "insert": f"\n  BEGIN{_ADVANCE}  END",
        "update": _UPDATE,
        "delete": _DELETE,
    }
    return [
        _trigger(event, body.format(session=f"`{session}`", step=f"`{step}`"), step)
        for event, body in bodies.items()
    ]


def _trigger(event: str, body: str, step: str) -> Trigger:
    name = f"{step}_snapshot_{event}"
    create = (
        f"CREATE OR REPLACE TRIGGER `{name}` AFTER {event.upper()} ON `{step}` FOR EACH ROW{body}"
    )
    return Trigger(
        name=name,
        create=(create,),
        drop=(f"DROP TRIGGER IF EXISTS `{name}`",),
        body=body,
    )
