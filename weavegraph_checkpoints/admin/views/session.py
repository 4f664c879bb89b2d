"""The page of one session: summary, weave, timeline and steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.admin.formatting import (
    format_age_html,
    format_node,
    format_time_html,
    format_timestamp,
    split_name,
)
from weavegraph_checkpoints.admin.labels import format_label
from weavegraph_checkpoints.admin.presenters.step_rows import (
    build_step_row,
    format_size,
    truncate_names,
)
from weavegraph_checkpoints.admin.presenters.timeline import (
    HEIGHT,
    WIDTH,
    TimelinePoint,
    build_timeline,
)
from weavegraph_checkpoints.admin.presenters.weave import (
    MAX_NODES,
    Weave,
    build_cell_symbols,
    build_weave,
)
from weavegraph_checkpoints.admin.queries import StepPage
from weavegraph_checkpoints.admin.views.base import BaseSessionView, format_missing_step
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import is_storable_text, parse_non_negative_int
from weavegraph_checkpoints.domain.nodes import NodeKind


class SessionView(BaseSessionView):
    """Show a session, or redirect to the step that ``go`` asks for."""

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        redirect = self.get_step_redirect()
        if redirect is not None:
            return redirect
        context = self.get_context() | self.get_follow_context()
        return self.render(self.model_admin.session_template, context)

    def get_context(self) -> dict[str, Any]:
        """Return the context of the content of the page."""
        request = self.request
        node = self.get_node()
        page = self.get_step_page(node)
        step_urls = self.urls.get_step_urls(self.session_id, (step.step for step in page.steps))
        show_all_nodes = request.GET.get("nodes") == "all"
        weave = build_weave(page.steps[::-1], max_nodes=None if show_all_nodes else MAX_NODES)
        points = queries.get_timeline_points(self.steps, self.object.last_step)
        return {
            "title": escape_control_chars(self.session_id),
            "subtitle": None,
            **self.get_summary(),
            **self.get_error_summary(points),
            "timeline": build_timeline(points),
            "timeline_view": f"0 -4 {WIDTH} {HEIGHT + 8}",
            "weave": weave,
            "weave_rows": self.get_weave_rows(weave),
            "shows_all_nodes": show_all_nodes,
            "weave_columns": [(column, step_urls[column.step]) for column in weave.columns],
            "query": request.GET,
            "steps": get_step_rows(page, step_urls),
            "node": "" if node is None else format_node(node.encoded),
            "node_parameter": "" if node is None else node.encoded,
            **self.get_pagination(page, node),
        }

    def get_follow_context(self) -> dict[str, Any]:
        """Return the context of the switch that follows the session.

        There is no switch if no new step would appear: the session is finished, or the page
        shows older steps.
        """
        query = self.request.GET
        if self.model_admin.is_finished(self.object) or "before" in query or "after" in query:
            return {"follow_url": None}
        kept = {
            name: query[name]
            for name in ("node", "nodes")
            if name in query and is_storable_text(query[name])
        }
        return {
            "follow_url": self.urls.get_url("follow", self.session_id, query=kept),
            "reload_url": self.request.get_full_path(),
            "version": self.get_version(),
        }

    def get_version(self) -> str:
        """Return a text that changes whenever the session does."""
        obj = self.object
        return f"{obj.created_at.timestamp():.6f}-{obj.revision}"

    def get_step_redirect(self) -> HttpResponse | None:
        """Return the redirect to the step ``go``; warn if there is no such step."""
        text = self.request.GET.get("go", "")
        step = parse_non_negative_int(text.strip())
        if step is not None and self.steps.filter(step=step).exists():
            return HttpResponseRedirect(self.urls.get_step_url(self.session_id, step))
        if step is not None:
            messages.warning(self.request, format_missing_step(self.steps, step))
        elif text:
            messages.warning(self.request, _("Enter a step number: a whole number from 0."))
        return None

    def get_node(self) -> NodeKind | None:
        """Return the node to search for, ``None`` for all nodes."""
        text = self.request.GET.get("node", "")
        if text and not is_storable_text(text):
            messages.warning(self.request, _("This is not a valid node name."))
            return None
        return NodeKind.decode(text) if text else None

    def get_step_page(self, node: NodeKind | None) -> StepPage:
        """Return the steps to show."""
        up_to = parse_non_negative_int(self.request.GET.get("before"))
        if node is not None:
            return queries.get_node_page(self.steps, node.encoded, up_to)
        after = parse_non_negative_int(self.request.GET.get("after"))
        if after is not None:
            return queries.get_page_after(self.steps, after)
        return queries.get_newest_page(self.steps, up_to)

    def get_summary(self) -> dict[str, Any]:
        """Return the summary of the session, and links to its other pages."""
        obj, urls = self.object, self.urls
        next_nodes = truncate_names(self.model_admin.get_next_nodes(obj))
        last = obj.last_step if self.model_admin.has_steps(obj) else None
        pages = ("compare", "fork", "labels", "download", "delete", "history")
        return {
            "status": self.model_admin.get_status_html(obj),
            "next_nodes": next_nodes["shown"],
            "next_hidden": next_nodes["hidden"],
            "last": last,
            "last_url": None if last is None else urls.get_step_url(self.session_id, last),
            "messages_count": intcomma(obj.last_message_count or 0),
            "size": format_size(obj.last_state_bytes),
            "created": format_age_html(obj.created_at),
            "updated": format_age_html(obj.updated_at),
            "owner": escape_control_chars(obj.owner),
            "labels": [
                (escape_control_chars(format_label(*label)), urls.get_label_url(*label))
                for label in self.model_admin.get_labels(obj).items()
            ],
            "origin": escape_control_chars(obj.forked_from),
            "origin_url": urls.get_session_url(obj.forked_from) if obj.forked_from else None,
            "origin_step_url": urls.get_step_url(obj.forked_from, obj.forked_at_step)
            if obj.forked_from and obj.forked_at_step is not None
            else None,
            **{f"{page}_url": urls.get_url(page, self.session_id) for page in pages},
        }

    def get_error_summary(self, points: list[TimelinePoint]) -> dict[str, Any]:
        """Return the number of errors, and the steps of the newest and the first error."""
        count = self.object.last_error_count or 0
        context: dict[str, Any] = {"error_count": count, "newest_error": None, "first_error": None}
        for name, reached in (("newest_error", count), ("first_error", 1)):
            step = queries.find_error_increase(self.steps, points, reached) if count else None
            if step is not None:
                url = self.urls.get_step_url(self.session_id, step)
                context[name] = {"step": step, "url": url}
        return context

    def get_weave_rows(self, weave: Weave) -> list[dict[str, Any]]:
        """Return the rows of the weave, with a link to the steps of each node."""
        symbols = build_cell_symbols()
        return [
            {
                "name_parts": split_name(format_node(row.node)),
                "url": self.urls.get_session_url(self.session_id, node=row.node),
                "cells": [symbols[cell] for cell in row.cells],
            }
            for row in weave.rows
        ]

    def get_pagination(self, page: StepPage, node: NodeKind | None) -> dict[str, Any]:
        """Return the links to the adjacent pages of steps."""
        query = {} if node is None else {"node": node.encoded}

        def get_page_url(name: str, step: int | None) -> str | None:
            if step is None:
                return None
            return self.urls.get_session_url(self.session_id, **query, **{name: step})

        return {
            "newest_url": self.urls.get_session_url(self.session_id, **query),
            "newer_url": get_page_url("after", page.newer),
            "older_url": get_page_url("before", page.older),
            "continue_url": get_page_url("before", page.searched_to),
            "searched_to": page.searched_to,
            "clear_url": self.urls.get_session_url(self.session_id),
        }


def get_step_rows(page: StepPage, urls: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the rows of the steps; the first of each day shows its date."""
    rows, last_day = [], ""
    for step in page.steps:
        day = format_timestamp(step.created_at)[:10]
        when = format_time_html(step.created_at, with_date=day != last_day)
        rows.append({"url": urls[step.step], "when": when, **build_step_row(step)})
        last_day = day
    return rows
