"""The admin class that the pages work with: objects, permissions, URLs and context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import django
from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR, TO_FIELD_VAR
from django.contrib.admin.utils import quote
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.generic import View

from weavegraph_checkpoints.admin.formatting import format_node, format_status, get_strings
from weavegraph_checkpoints.admin.urls import (
    SessionURLs,
    get_filters_suffix,
    get_list_filters,
    unquote_session_id,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.domain.escaping import escape_control_chars
from weavegraph_checkpoints.domain.limits import is_session_id
from weavegraph_checkpoints.exceptions import SessionProtected
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.querysets import StepQuerySet

TEMPLATE_DIR = "admin/weavegraph_checkpoints/session"


class IsolatedObject:
    """An object whose name does not change the direction of the text around it.

    Django before 6.1 shows ``object`` itself on the page that confirms a deletion.
    """

    def __init__(self, obj: Any, name: str) -> None:
        self._object = obj
        self._name = name

    def __str__(self) -> str:
        return self._name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._object, attribute)


class BaseSessionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Browse sessions and their steps; nothing can be added or changed.

    The pages know their objects only through this class, and by the columns of ``Session``
    other than its state. Every page gets its object from ``get_queryset``, so a subclass
    that restricts it restricts every page.
    """

    change_list_template = f"{TEMPLATE_DIR}/change_list.html"
    session_template = f"{TEMPLATE_DIR}/session.html"
    session_content_template = f"{TEMPLATE_DIR}/session_content.html"
    step_template = f"{TEMPLATE_DIR}/step.html"
    value_template = f"{TEMPLATE_DIR}/value.html"
    compare_template = f"{TEMPLATE_DIR}/compare.html"
    fork_template = f"{TEMPLATE_DIR}/fork.html"
    labels_template = f"{TEMPLATE_DIR}/labels.html"
    prune_template = f"{TEMPLATE_DIR}/prune.html"
    delete_confirmation_template = f"{TEMPLATE_DIR}/delete_confirmation.html"
    object_history_template = f"{TEMPLATE_DIR}/object_history.html"

    session_view: type[View]
    """The view used in place of Django's change view."""
    page_views: Mapping[str, tuple[str, type[View]]] = {}
    """The route and the view of each further page, by the end of its URL name."""
    statuses: Mapping[str, Any] = dict(Session.Status.choices)
    """The label of each status."""

    class Media:
        css = {"all": ["weavegraph_checkpoints/weave.css"]}

    # Objects and their steps

    def get_object_id(self, obj: Any) -> str:
        """Return the id that names ``obj`` in URLs and titles."""
        return str(obj.pk)

    def get_status_html(self, obj: Any) -> SafeString:
        """Return the status as a symbol and its label."""
        return format_status(obj.status, self.statuses.get(obj.status, obj.status))

    def get_next_nodes(self, obj: Any) -> list[str]:
        """Return the names of the nodes to run next, none if ``obj`` is finished."""
        if self.is_finished(obj):
            return []
        return [format_node(name) for name in get_strings(obj.last_frontier)]

    def is_finished(self, obj: Any) -> bool:
        """Return whether ``obj`` has no nodes to run next."""
        return bool(obj.status == Session.Status.FINISHED)

    def has_steps(self, obj: Any) -> bool:
        """Return whether ``obj`` has a step, without a query."""
        return bool(obj.status != Session.Status.EMPTY)

    def get_steps(self, obj: Any) -> StepQuerySet:
        """Return the steps of ``obj``, from the database that ``obj`` was read from."""
        steps: StepQuerySet = Step._default_manager.using(obj._state.db).for_session(obj.pk)
        return steps

    def load_checkpoint(self, obj: Any, step: int) -> Checkpoint | None:
        """Return a step with its state, ``None`` if it does not exist.

        Raise ``SerializationError`` if the step cannot be decoded.
        """
        return DjangoCheckpointer(using=obj._state.db).load(obj.pk, step)

    def get_labels(self, obj: Any) -> dict[str, str]:
        """Return the labels of ``obj``, sorted by key. One query."""
        return DjangoCheckpointer(using=obj._state.db).get_labels(obj.pk)

    def get_writer(self, obj: Any) -> DjangoCheckpointer:
        """Return the service that forks, labels and deletes ``obj``."""
        return DjangoCheckpointer(using=router.db_for_write(self.model, instance=obj))

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return the object, ``None`` also for text that cannot be an id."""
        if not is_session_id(object_id):
            return None
        return super().get_object(request, object_id, from_field or None)

    def get_object_or_404(self, request: HttpRequest, object_id: str) -> Any:
        """Return the object with a quoted id, without its state.

        Raise ``PermissionDenied`` without the view permission, and ``Http404``.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        obj = self.get_object(request, unquote_session_id(object_id))
        if obj is None:
            raise Http404(_("This session does not exist."))
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        return obj

    # Permissions

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return ``False``: sessions are created by workflows and by forks."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return ``False``: checkpoints are never edited."""
        return False

    def has_fork_permission(self, request: HttpRequest) -> bool:
        """Return whether the user has the add permission of the model, which forks."""
        codename = get_permission_codename("add", self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    def has_label_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user has the change permission of the model, which sets labels."""
        codename = get_permission_codename("change", self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    def has_prune_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may delete steps of the sessions that the admin shows.

        A subclass that restricts the sessions in ``get_object`` alone must allow it itself:
        a prune finds its sessions by ``get_queryset``.
        """
        if self._overrides("get_object", "get_object_or_404"):
            return False
        return self.has_delete_permission(request)

    def has_object_permission(self, request: HttpRequest, obj: Any) -> bool:
        """Return whether the user may view and delete this session."""
        return self.has_view_permission(request, obj) and self.has_delete_permission(request, obj)

    def has_object_rules(self) -> bool:
        """Return whether a subclass restricts the sessions to some of them."""
        return self._overrides(
            "get_queryset",
            "has_view_permission",
            "has_delete_permission",
            "has_object_permission",
        )

    def _overrides(self, *names: str) -> bool:
        """Return whether a project defines one of these methods."""
        ours = ("django.contrib.admin.", "weavegraph_checkpoints.")
        return any(
            not str(getattr(getattr(self, name), "__module__", "")).startswith(ours)
            for name in names
        )

    # URLs, context and Django's own pages

    @property
    def session_urls(self) -> SessionURLs:
        """The URLs of the pages, without the filters of the list."""
        return SessionURLs(self.admin_site.name, f"{self.opts.app_label}_{self.opts.model_name}")

    def get_session_urls(self, request: HttpRequest) -> SessionURLs:
        """Return the URLs of the pages, with the filters of the list that the user came from."""
        urls = self.session_urls
        urls.list_filters = get_list_filters(self.get_preserved_filters(request))
        return urls

    def get_urls(self) -> list[URLPattern]:
        """Return ``page_views`` before the URLs of Django's own pages."""
        prefix = self.session_urls.url_prefix
        pages = []
        for name, (route, view) in self.page_views.items():
            page = self.admin_site.admin_view(view.as_view(model_admin=self))
            pages.append(path(route, page, name=f"{prefix}_{name}"))
        return pages + super().get_urls()

    def get_breadcrumbs_context(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        """Return the context of the breadcrumbs."""
        object_id = None if obj is None else self.get_object_id(obj)
        urls = self.get_session_urls(request)
        return {
            "session": obj,
            "session_name": escape_control_chars(object_id or ""),
            "sessions_url": urls.get_changelist_url(),
            "session_url": object_id and urls.get_session_url(object_id),
            "list_filters": urls.list_filters,
            "list_filters_suffix": get_filters_suffix(urls.list_filters),
            "has_breadcrumb_list": django.VERSION >= (6, 1),
        }

    def get_page_context(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        """Return the context that all pages share: that of Django's change page without a form.

        Themes rely on the names and types of Django's own pages.
        """
        breadcrumbs = self.get_breadcrumbs_context(request, obj)
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "app_label": self.opts.app_label,
            "media": self.media,
            "object": obj,
            "original": obj,
            "object_id": None if obj is None else str(obj.pk),
            "add": False,
            "change": obj is not None,
            "inline_admin_formsets": [],
            "is_popup": IS_POPUP_VAR in request.GET or IS_POPUP_VAR in request.POST,
            "is_popup_var": IS_POPUP_VAR,
            "to_field_var": TO_FIELD_VAR,
            "to_field": request.POST.get(TO_FIELD_VAR, request.GET.get(TO_FIELD_VAR)),
            "preserved_filters": self.get_preserved_filters(request),
            **breadcrumbs,
            "subtitle": breadcrumbs["session_name"],
            "has_fork_permission": self.has_fork_permission(request),
            "has_label_permission": self.has_label_permission(request, obj),
            "has_view_permission": self.has_view_permission(request, obj),
            "has_add_permission": self.has_add_permission(request),
            "has_change_permission": self.has_change_permission(request, obj),
            "has_delete_permission": self.has_delete_permission(request, obj),
        }

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one session."""
        view: Any = self.session_view.as_view(model_admin=self, extra_context=extra_context)
        return view(request, object_id=object_id)  # type: ignore[no-any-return]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the admin log of one session."""
        obj = self.get_object_or_404(request, object_id)
        context = self.get_breadcrumbs_context(request, obj) | (extra_context or {})
        return super().history_view(request, quote(self.get_object_id(obj)), context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for confirmation and delete one session."""
        obj = self.get_object_or_404(request, object_id)
        breadcrumbs = self.get_breadcrumbs_context(request, obj)
        # Isolate the direction of the id from the text around it.
        name = f"\u2068{breadcrumbs['session_name']}\u2069"
        context = {
            **breadcrumbs,
            "escaped_object": name,
            "isolated_object": IsolatedObject(breadcrumbs["session"], name),
        }
        context |= extra_context or {}
        try:
            return super().delete_view(request, quote(self.get_object_id(obj)), context)
        except SessionProtected as error:
            self.message_protected(request, error)
            urls = self.get_session_urls(request)
            return HttpResponseRedirect(urls.get_session_url(self.get_object_id(obj)))

    def message_protected(self, request: HttpRequest, error: SessionProtected) -> None:
        """Say that a session was not deleted; the confirmation page could not know it."""
        text = _("%(session)s was not deleted: it is protected by %(models)s.") % {
            "session": f"\u2068{escape_control_chars(error.session_id)}\u2069",
            "models": ", ".join(error.protected_by),
        }
        self.message_user(request, text, messages.ERROR)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        """Redirect to the list; Django would require the change permission for that."""
        response = super().response_delete(request, obj_display, obj_id)
        if isinstance(response, HttpResponseRedirect):
            return HttpResponseRedirect(self.get_session_urls(request).get_changelist_url())
        return response
