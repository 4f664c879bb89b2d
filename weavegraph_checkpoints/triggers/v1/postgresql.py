"""The snapshot trigger on PostgreSQL: one function for the three events.

The function resolves the tables in the schema of the trigger's own table, whatever the
``search_path`` of the connection is, and wherever the function was created: schemas are
renamed and cloned. A function with a ``SET`` clause restores the ``search_path`` at its end.

A session row that one transaction updates n times leaves n row versions, which each further
update reads. So the function remembers, in settings that end with the transaction, which
session it has updated last. It then counts older steps instead of updating the row for
each, and a statement-level trigger adds the count to ``revision`` at the end of the
statement. Of several new steps in one statement it copies the highest one.
"""

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
      last_base_id = newest.base_id,
      last_frontier = newest.frontier,
      last_versions_seen = newest.versions_seen,
      last_state = newest.state
    FROM (VALUES ({{ids}})) AS touched (id)
    LEFT JOIN LATERAL (
      SELECT * FROM {{step}} WHERE session_id = touched.id ORDER BY step DESC LIMIT 1
    ) AS newest ON TRUE
    WHERE {{session}}.id = touched.id"""

_BOTH = "OLD.session_id), (NEW.session_id"

_BODY = f"""
DECLARE
  newest_step bigint;
  touched text;
  pending bigint;
BEGIN
  PERFORM set_config('search_path', quote_ident(TG_TABLE_SCHEMA) || ', pg_temp', true);
  IF TG_OP <> 'DELETE' THEN
    touched := COALESCE(current_setting('weavegraph_checkpoints.touched', true), '');
    pending := COALESCE(NULLIF(current_setting('weavegraph_checkpoints.pending', true), ''), '0');
    IF pending > 0 AND (TG_LEVEL = 'STATEMENT'
      OR touched <> TG_RELID || ' ' || NEW.session_id) THEN
      UPDATE {{session}} SET revision = revision + pending, updated_at = clock_timestamp()
        WHERE id = substr(touched, strpos(touched, ' ') + 1);
      PERFORM set_config('weavegraph_checkpoints.pending', '0', true);
    END IF;
  END IF;
  IF TG_LEVEL = 'STATEMENT' THEN
    RETURN NULL;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT last_step INTO newest_step FROM {{session}}
      WHERE id = OLD.session_id FOR NO KEY UPDATE;
    IF newest_step = OLD.step THEN{_FRESH.replace("{other}", "NULL")}
    UPDATE {{session}} SET
      revision = revision + 1,{_DERIVED.replace("{ids}", "OLD.session_id")};
    END IF;
  ELSIF TG_OP = 'UPDATE'
    AND (OLD.session_id <> NEW.session_id OR OLD.step <> NEW.step) THEN
    PERFORM 1 FROM {{session}} WHERE id IN (OLD.session_id, NEW.session_id)
      ORDER BY id FOR NO KEY UPDATE;{_FRESH.replace("{other}", "NEW.session_id")}
    UPDATE {{session}} SET
      revision = revision + 1,
      updated_at = clock_timestamp(),{_DERIVED.replace("{ids}", _BOTH)};
  ELSIF touched = TG_RELID || ' ' || NEW.session_id THEN
    SELECT last_step INTO newest_step FROM {{session}} WHERE id = NEW.session_id;
    IF NEW.step < newest_step THEN
      PERFORM set_config('weavegraph_checkpoints.pending', (pending + 1)::text, true);
    ELSE
    UPDATE {{session}} SET
      revision = revision + 1,
      updated_at = clock_timestamp(),{_DERIVED.replace("{ids}", "NEW.session_id")};
    END IF;
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
    PERFORM set_config(
      'weavegraph_checkpoints.touched', TG_RELID || ' ' || NEW.session_id, true);
  END IF;
  RETURN NULL;
END
"""


def triggers(session: str, step: str, keyframe: str) -> list[Trigger]:
    """Return the trigger on the (unquoted) table of steps."""
    name = f"{step}_snapshot"
    body = _BODY.format(session=f'"{session}"', step=f'"{step}"')
    drop_row = f'DROP TRIGGER IF EXISTS "{name}" ON "{step}"'
    drop_statement = f'DROP TRIGGER IF EXISTS "{name}_statement" ON "{step}"'
    return [
        Trigger(
            name=name,
            create=(
                f'CREATE OR REPLACE FUNCTION "{name}"() RETURNS trigger'
                f" LANGUAGE plpgsql SET search_path = pg_catalog AS $body${body}$body$",
                drop_statement,
                f'CREATE TRIGGER "{name}_statement" AFTER INSERT OR UPDATE ON "{step}"'
                f' FOR EACH STATEMENT EXECUTE FUNCTION "{name}"()',
                drop_row,
                f'CREATE TRIGGER "{name}" AFTER INSERT OR UPDATE OR DELETE ON "{step}"'
                f' FOR EACH ROW EXECUTE FUNCTION "{name}"()',
            ),
            drop=(drop_row, drop_statement, f'DROP FUNCTION IF EXISTS "{name}"()'),
            body=body,
        )
    ]
