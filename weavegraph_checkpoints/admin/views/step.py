"""The pages of one step and of one value of its state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.formatting import (
    format_age_html,
    format_node,
    format_timestamp,
)
from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.conversation import build_conversation
from weavegraph_checkpoints.admin.presenters.errors import build_errors
from weavegraph_checkpoints.admin.presenters.step_changes import StepChanges, build_step_changes
from weavegraph_checkpoints.admin.presenters.step_rows import build_step_row, truncate_names
from weavegraph_checkpoints.admin.presenters.timeline import (
    StepDelta,
    StepSummary,
    build_step_delta,
)
from weavegraph_checkpoints.admin.presenters.values import (
    MAX_ENTRIES,
    build_json_pointer,
    build_value_tree,
    format_json,
    format_label,
    resolve_json_pointer,
)
from weavegraph_checkpoints.admin.presenters.versions_seen import build_versions_seen
from weavegraph_checkpoints.admin.views.base import BaseStepView, format_missing_step
from weavegraph_checkpoints.domain import Checkpoint, VersionedState
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import (
    MAX_NAME_LENGTH,
    MAX_NODES,
    parse_non_negative_int,
)
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde.values import state_document

LARGE_STATE_BYTES = 1_000_000
MAX_ERRORS = 50
FIRST_STEP = 1
"""The first step of a run; some begin with step 0."""


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
            "next_nodes": truncate_names(step.frontier, format_node),
            "row": build_step_row(delta),
            **self.get_links(previous, following),
        }
        if not queries.is_decodable((self.steps, step)):
            context["is_too_complex"] = True
            return self.render(self.model_admin.step_template, context)
        try:
            checkpoint = self.model_admin.load_checkpoint(self.object, step.step)
        except SerializationError as error:
            context["broken"] = escape_control_chars(str(error))
        else:
            if checkpoint is None:
                raise Http404(format_missing_step(self.steps, step.step))
            context |= self.get_contents(checkpoint, delta, previous)
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

    def get_contents(
        self, checkpoint: Checkpoint, delta: StepDelta, previous: StepSummary | None
    ) -> dict[str, Any]:
        """Return what the state holds; of a large state only the errors, unless asked for."""
        state, query, budget = checkpoint.state, self.request.GET, PageBudget()
        size = delta.bytes
        if size is None:
            size = len(serde.dumps_state(state))
            # Another program wrote the row, without counts.
            delta = replace(
                delta,
                messages=len(state.messages.items),
                errors=len(state.errors.items),
                bytes=size,
            )
        is_large = size > LARGE_STATE_BYTES
        is_shown = not is_large or query.get("whole") == "yes"
        changes, note = self.get_changes(state, previous, budget) if is_shown else (None, "")
        contents: dict[str, Any] = {
            "checkpoint": checkpoint,
            "row": build_step_row(delta),
            "budget": budget,
            **self.get_errors(state, changes, previous, budget),
            "versions": state,
            "size": filesizeformat(size),
        }
        if not is_shown:
            return contents | {"is_large": True}
        conversation = build_conversation(
            state.messages.items,
            kinds=None if changes is None else changes.kinds,
            above={item.number for item in changes.messages} if changes else (),
            up_to=parse_non_negative_int(query.get("messages")),
            budget=budget,
        )
        raw = "" if is_large else serde.dumps(checkpoint).decode()
        return contents | {
            "changes": changes,
            "changes_note": note,
            "conversation": conversation,
            "extras": build_value_tree(state.extra.map, ("extra", "map"), budget=budget),
            "name_lists": build_name_lists(checkpoint, budget),
            "seen": build_versions_seen(checkpoint.versions_seen, state, budget),
            "raw": raw if budget.take_text(raw) else "",
        }

    def get_changes(
        self, state: VersionedState, previous: StepSummary | None, budget: PageBudget
    ) -> tuple[StepChanges | None, str]:
        """Return what the step changed, or ``None`` and why that is not known."""
        if previous is None and self.step.step <= FIRST_STEP:
            return build_step_changes(VersionedState.new(), state, budget), ""
        checkpoint = None
        if previous is not None:
            if not queries.is_decodable((self.steps, self.step), (self.steps, previous)):
                return None, _("The two states have too many values to compare on a page.")
            try:
                checkpoint = self.model_admin.load_checkpoint(self.object, previous.step)
            except SerializationError:
                return None, _("The previous step cannot be read, so the changes are not known.")
        if checkpoint is None:
            return None, _("The previous step has been deleted, so the changes are not known.")
        return build_step_changes(checkpoint.state, state, budget), ""

    def get_errors(
        self,
        state: VersionedState,
        changes: StepChanges | None,
        previous: StepSummary | None,
        budget: PageBudget,
    ) -> dict[str, Any]:
        """Return the newest errors, marked as new by the changes or else by their number."""
        events, shows_all = state.errors.items, self.request.GET.get("errors") == "all"
        known = len(events) if previous is None else previous.errors or 0
        shown = build_errors(
            events,
            limit=None if shows_all else MAX_ERRORS,
            new=range(known, len(events)) if changes is None else changes.new_errors,
            budget=budget,
        )
        all_url = self.urls.get_step_url(self.session_id, self.step.step, errors="all")
        return {
            "error_events": shown,
            "errors_total": len(events),
            "errors_hidden": len(events) - len(shown),
            "all_errors_url": None if shows_all else all_url,
        }


class ValueView(BaseStepView):
    """Show the value at the JSON Pointer ``at``, ``MAX_ENTRIES`` entries from ``offset`` on."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        step = self.get_step_or_404()
        number, step_url = step.step, self.urls.get_step_url(self.session_id, step.step)
        if not queries.is_decodable((self.steps, step)):
            return HttpResponseRedirect(step_url)
        pointer = request.GET.get("at", "")
        state = self.get_checkpoint_or_404().state
        found = resolve_json_pointer(build_document(state), pointer)
        if found is None:
            raise Http404(_("The state has no value at this path."))
        path, value = found
        budget = PageBudget()
        offset = parse_non_negative_int(request.GET.get("offset")) or 0
        has_entries = isinstance(value, dict | list)
        context = {
            "title": _("Step %(step)s") % {"step": number},
            "step": number,
            "step_url": step_url,
            "value_url": self.urls.get_url("value", self.session_id, number),
            "trail": [
                {
                    "label": str(key) if isinstance(key, int) else format_label(key),
                    "pointer": build_json_pointer(path[: index + 1]),
                }
                for index, key in enumerate(path)
            ],
            "lines": build_value_tree(value, path, offset=offset, budget=budget),
            "has_entries": has_entries,
            "count": len(value) if has_entries else 0,
            "offset": offset,
            "earlier": max(0, offset - MAX_ENTRIES) if offset else None,
            "pointer": pointer,
            "budget": budget,
            "raw_url": self.urls.get_url("raw", self.session_id, number),
        }
        if isinstance(value, str):
            context["plain"], context["plain_omitted"] = budget.truncate(value)
        if not has_entries:
            context["text"], context["text_omitted"] = budget.truncate(format_json(value))
        return self.render(self.model_admin.value_template, context)


def build_document(state: VersionedState) -> dict[str, Any]:
    """Return the JSON document of a state, without a copy of its free values."""
    messages, extra, errors = state.messages, state.extra, state_document(state)["errors"]
    items = [{"role": item.role, "content": item.content} for item in messages.items]
    events = [
        {**event, "scope": msgspec.to_builtins(event["scope"]), "tags": list(event["tags"])}
        for event in errors["items"]
    ]
    return {
        "messages": {"version": messages.version, "items": items},
        "extra": {"version": extra.version, "map": extra.map},
        "errors": {**errors, "items": events},
    }


def build_name_lists(checkpoint: Checkpoint, budget: PageBudget) -> list[dict[str, Any]]:
    """Return the nodes and channels of a step: for each list, the first and how many others."""
    lists = (
        (_("Next nodes"), [node.encoded for node in checkpoint.frontier], format_node),
        (_("Ran"), [node.encoded for node in checkpoint.ran_nodes], format_node),
        (_("Skipped"), [node.encoded for node in checkpoint.skipped_nodes], format_node),
        (_("Changed channels"), checkpoint.updated_channels, str),
    )
    return [
        {
            "label": label,
            "names": [
                budget.truncate(format_name(name), MAX_NAME_LENGTH + 10)[0]
                for name in names[:MAX_NODES]
            ],
            "hidden": max(0, len(names) - MAX_NODES),
        }
        for label, names, format_name in lists
    ]
