"""The pages of one step and of one value of its state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.formatting import (
    format_age_html,
    format_duration,
    format_node,
    format_timestamp,
)
from weavegraph_checkpoints.admin.presenters.conversation import build_conversation
from weavegraph_checkpoints.admin.presenters.errors import build_error
from weavegraph_checkpoints.admin.presenters.timeline import StepSummary, build_step_delta
from weavegraph_checkpoints.admin.presenters.values import (
    MAX_ENTRIES,
    build_json_pointer,
    build_value_tree,
    format_json,
    resolve_json_pointer,
)
from weavegraph_checkpoints.admin.presenters.versions_seen import build_versions_seen
from weavegraph_checkpoints.admin.views.base import BaseStepView, format_missing_step
from weavegraph_checkpoints.domain import Checkpoint, NodeKind
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import parse_non_negative_int
from weavegraph_checkpoints.exceptions import SerializationError

LARGE_STATE_BYTES = 1_000_000
MAX_ERRORS = 50


class StepView(BaseStepView):
    """Show a step; with ``go=error``, redirect to the next step with more errors."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        self.step = step = self.get_step_or_404()
        if request.GET.get("go") == "error":
            found = queries.get_next_error_step(self.steps, step, self.object.last_step)
            number = step.step if found is None else found
            return HttpResponseRedirect(self.urls.get_step_url(self.session_id, number))
        previous = queries.get_previous_step(self.steps, step.step)
        following = queries.get_next_step(self.steps, step.step)
        delta = build_step_delta(step, previous, following)
        context = {
            "title": _("Step %(step)s") % {"step": step.step},
            "when": format_age_html(step.created_at),
            "exact": format_timestamp(step.created_at),
            "size": None if step.bytes is None else filesizeformat(step.bytes),
            "since": "" if delta.since is None else format_duration(delta.since),
            "is_late": delta.is_late,
            **self.get_links(previous, following),
        }
        try:
            checkpoint = self.model_admin.load_checkpoint(self.object, step.step)
        except SerializationError as error:
            context["broken"] = escape_control_chars(str(error))
        else:
            if checkpoint is None:
                raise Http404(format_missing_step(self.steps, step.step))
            context |= self.get_contents(checkpoint, previous)
        return self.render(self.model_admin.step_template, context)

    def get_links(
        self, previous: StepSummary | None, following: StepSummary | None
    ) -> dict[str, Any]:
        """Return the links to the adjacent steps and to the other pages of the step."""
        session_id, step, urls = self.session_id, self.step.step, self.urls
        has_more_errors = (self.object.last_error_count or 0) > (self.step.errors or 0)
        links: dict[str, Any] = {
            "fork_url": urls.get_url("fork", session_id, query={"at": step}),
            "raw_url": urls.get_url("raw", session_id, step),
            "value_url": urls.get_url("value", session_id, step),
            "step_url": urls.get_step_url(session_id, step),
            "whole_url": urls.get_step_url(session_id, step, whole="yes"),
        }
        if has_more_errors:
            links["next_error_url"] = urls.get_step_url(session_id, step, go="error")
        if previous is not None:
            links["compare_url"] = urls.get_compare_url(session_id, previous.step, step)
        for name, adjacent in (("previous", previous), ("next", following)):
            if adjacent is not None:
                links[f"{name}_step"] = adjacent.step
                links[f"{name}_url"] = urls.get_step_url(session_id, adjacent.step)
        return links

    def get_contents(self, checkpoint: Checkpoint, previous: StepSummary | None) -> dict[str, Any]:
        """Return what the state holds; of a large state only the errors, unless asked for."""
        state, query = checkpoint.state, self.request.GET
        errors = list(enumerate(state.errors.items))
        shown = errors if query.get("errors") == "all" else errors[-MAX_ERRORS:]
        old_errors = 0 if previous is None else previous.errors or 0
        size = self.step.bytes
        if size is None:
            size = len(serde.dumps_state(state))
        contents: dict[str, Any] = {
            "checkpoint": checkpoint,
            "errors": [
                build_error(event, index, is_new=index >= old_errors)
                for index, event in reversed(shown)
            ],
            "errors_total": len(errors),
            "errors_hidden": len(errors) - len(shown),
            "versions": state,
            "size": filesizeformat(size),
        }
        is_large = size > LARGE_STATE_BYTES
        if is_large and query.get("whole") != "yes":
            return contents | {"is_large": True}
        conversation = build_conversation(
            state.messages.items,
            known_before=None if previous is None else previous.messages,
            up_to=parse_non_negative_int(query.get("messages")),
        )
        return contents | {
            "conversation": conversation,
            "extras": build_value_tree(state.extra.map, ("extra", "map")),
            "frontier": format_nodes(checkpoint.frontier),
            "ran": format_nodes(checkpoint.ran_nodes),
            "skipped": format_nodes(checkpoint.skipped_nodes),
            "channels": [escape_control_chars(name) for name in checkpoint.updated_channels],
            "seen": build_versions_seen(checkpoint.versions_seen, state),
            "raw": "" if is_large else serde.dumps(checkpoint).decode(),
        }


class ValueView(BaseStepView):
    """Show the value at the JSON Pointer ``at``, ``MAX_ENTRIES`` entries from ``offset`` on."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        number = self.get_step_or_404().step
        pointer = request.GET.get("at", "")
        state = serde.loads_json(serde.dumps_state(self.get_checkpoint_or_404().state))
        found = resolve_json_pointer(state, pointer)
        if found is None:
            raise Http404(_("The state has no value at this path."))
        path, value = found
        offset = parse_non_negative_int(request.GET.get("offset")) or 0
        has_entries = isinstance(value, dict | list)
        context = {
            "title": _("Step %(step)s") % {"step": number},
            "step": number,
            "step_url": self.urls.get_step_url(self.session_id, number),
            "value_url": self.urls.get_url("value", self.session_id, number),
            "trail": [
                {
                    "label": str(key) if isinstance(key, int) else format_json(key),
                    "pointer": build_json_pointer(path[: index + 1]),
                }
                for index, key in enumerate(path)
            ],
            "lines": build_value_tree(value, path, offset=offset) if has_entries else [],
            "has_entries": has_entries,
            "count": len(value) if has_entries else 0,
            "offset": offset,
            "earlier": max(0, offset - MAX_ENTRIES) if offset else None,
            "text": "" if has_entries else format_json(value),
            "plain": escape_control_chars(value) if isinstance(value, str) else "",
            "pointer": pointer,
        }
        return self.render(self.model_admin.value_template, context)


def format_nodes(nodes: Iterable[NodeKind]) -> list[str]:
    """Return the names of nodes, escaped."""
    return [format_node(node.encoded) for node in nodes]
