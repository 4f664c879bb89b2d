"""The snapshot trigger on PostgreSQL: one function for the three events."""

from __future__ import annotations

from weavegraph_checkpoints.triggers.definition import Trigger

_FINISHED = """'["End"]'::jsonb"""

# A snapshot of the database older than the lock still shows a step that another has
# deleted since, and such a delete leaves no trace in the session row: to lock the step
# is then a serialization failure.
_FRESH = """
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
      PERFORM (SELECT 1 FROM {step} WHERE session_id = touched.id
        ORDER BY step DESC LIMIT 1 FOR KEY SHARE)
        FROM (VALUES (OLD.session_id), ({other})) AS touched (id);
    END IF;"""

_DERIVED = f"""
      last_step = COALESCE(newest.step, 0),
      status = CASE WHEN newest.step IS NULL THEN 'empty'
        WHEN newest.frontier <@ {_FINISHED} THEN 'finished' ELSE 'resumable' END,
      last_message_count = newest.message_count,
      last_error_count = newest.error_count,
      last_state_bytes = newest.state_bytes,
      last_frontier = newest.frontier,
      last_versions_seen = newest.versions_seen,
      last_state = newest.state
    FROM (VALUES (OLD.session_id), ({{other}})) AS touched (id)
    LEFT JOIN LATERAL (
      SELECT * FROM {{step}} WHERE session_id = touched.id ORDER BY step DESC LIMIT 1
    ) AS newest ON TRUE
    WHERE {{session}}.id = touched.id"""

_BODY = f"""
DECLARE
  newest_step bigint;
BEGIN
  IF TG_OP = 'DELETE' THEN
    SELECT last_step INTO newest_step FROM {{session}}
      WHERE id = OLD.session_id FOR NO KEY UPDATE;
    IF newest_step = OLD.step THEN{_FRESH.replace("{other}", "NULL")}
    UPDATE {{session}} SET
      revision = revision + 1,{_DERIVED.replace("{other}", "NULL")};
    END IF;
  ELSIF TG_OP = 'UPDATE'
    AND (OLD.session_id <> NEW.session_id OR OLD.step <> NEW.step) THEN
    PERFORM 1 FROM {{session}} WHERE id IN (OLD.session_id, NEW.session_id)
      ORDER BY id FOR NO KEY UPDATE;{_FRESH.replace("{other}", "NEW.session_id")}
    UPDATE {{session}} SET
      revision = revision + 1,
      updated_at = clock_timestamp(),{_DERIVED.replace("{other}", "NEW.session_id")};
  ELSE
    UPDATE {{session}} SET
      revision = revision + 1,
      updated_at = clock_timestamp(),
      status = CASE WHEN NEW.step < last_step THEN status
        WHEN NEW.frontier <@ {_FINISHED} THEN 'finished' ELSE 'resumable' END,
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
      last_step = GREATEST(NEW.step, last_step)
    WHERE id = NEW.session_id;
  END IF;
  RETURN NULL;
END
"""


def triggers(session: str, step: str) -> list[Trigger]:
    """Return the trigger on the (unquoted) tables of sessions and steps."""
    name = f"{step}_snapshot"
    body = _BODY.format(session=f'"{session}"', step=f'"{step}"')
    drop = f'DROP TRIGGER IF EXISTS "{name}" ON "{step}"'
    return [
        Trigger(
            name=name,
            create=(
                f'CREATE OR REPLACE FUNCTION "{name}"() RETURNS trigger'
                f" LANGUAGE plpgsql SET search_path FROM CURRENT AS $body${body}$body$",
                drop,
                f'CREATE TRIGGER "{name}" AFTER INSERT OR UPDATE OR DELETE ON "{step}"'
                f' FOR EACH ROW EXECUTE FUNCTION "{name}"()',
            ),
            drop=(drop, f'DROP FUNCTION IF EXISTS "{name}"()'),
            body=body,
        )
    ]
