"""Edit the labels of a session."""

from __future__ import annotations

from collections.abc import Mapping

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from weavegraph_checkpoints.admin.labels import format_label, parse_lines
from weavegraph_checkpoints.admin.views.base import BaseSessionView
from weavegraph_checkpoints.domain.escaping import escape_direction_chars
from weavegraph_checkpoints.domain.labels import MAX_LABELS, merge_labels
from weavegraph_checkpoints.domain.limits import safe_repr
from weavegraph_checkpoints.exceptions import InvalidLabel, SessionNotFound


class LabelsField(forms.CharField):
    """Labels, one a line; the value is a dict."""

    def __init__(self) -> None:
        super().__init__(
            label=gettext_lazy("Labels"),
            required=False,
            strip=False,
            widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false"}),
            help_text=gettext_lazy(
                "One label per line, such as customer=4711. Put a value in double quotes to "
                "begin or end it with a space, or to write JSON escapes in it."
            ),
            show_hidden_initial=True,
        )

    def prepare_value(self, value: object) -> object:
        """Return labels as lines."""
        if isinstance(value, Mapping):
            return "\n".join(format_label(*label) for label in value.items())
        return value

    def clean(self, value: str | None) -> dict[str, str]:
        """Return the labels of lines. Raise ``ValidationError``."""
        text = super().clean(value) or ""
        try:
            labels = merge_labels(parse_lines(text))
        except InvalidLabel as error:
            raise forms.ValidationError(
                _(
                    "%(line)s is not a label. Write key=value: the key is 1 to 63 of A-Z a-z 0-9 "
                    "_ . -, of which the first is a letter or digit, the value up to 255 "
                    "characters."
                ),
                params={"line": safe_repr(error.path)},
            ) from None
        if labels is None:
            raise forms.ValidationError(_("A key has two values."))
        return labels


class LabelsForm(forms.Form):
    """The labels of a session, and those it had when the form was shown."""

    labels = LabelsField()

    def get_changes(self) -> dict[str, str | None]:
        """Return what the user changed: others may have changed other labels meanwhile."""
        new: dict[str, str] = self.cleaned_data["labels"]
        field = self["labels"]
        shown = self.data.get(field.html_initial_name, "")
        try:
            old = merge_labels(parse_lines(shown)) or {}
        except InvalidLabel:
            old = {}
        removed = dict.fromkeys(key for key in old if key not in new)
        return {**removed, **{key: new[key] for key in new if old.get(key) != new[key]}}


class LabelsView(BaseSessionView):
    """Show the labels in a form, change them, and redirect to the session."""

    http_method_names = ["get", "head", "post"]

    def has_permission(self) -> bool:
        return super().has_permission() and self.model_admin.has_label_permission(
            self.request, self.object
        )

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        return self.render_form(
            LabelsForm(initial={"labels": self.model_admin.get_labels(self.object)})
        )

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = LabelsForm(request.POST)
        if not (form.is_valid() and self.set_labels(form)):
            return self.render_form(form)
        return HttpResponseRedirect(self.urls.get_session_url(self.session_id))

    def set_labels(self, form: LabelsForm) -> bool:
        """Write and log what changed; return ``False`` after adding an error to the form."""
        changes = form.get_changes()
        if not changes:
            return True
        try:
            self.model_admin.get_writer(self.object).set_labels(self.session_id, changes)
        except InvalidLabel:
            text = _("A session has at most %(count)s labels.") % {"count": MAX_LABELS}
            form.add_error("labels", text)
        except SessionNotFound:
            form.add_error(None, _("This session does not exist."))
        else:
            text = _("Changed labels: %(changes)s.") % {"changes": format_changes(changes)}
            self.model_admin.log_change(self.request, self.object, text)
            messages.success(self.request, _("The labels were changed."))
        return form.is_valid()

    def render_form(self, form: LabelsForm) -> HttpResponse:
        """Return the page with the form."""
        context = {"title": _("Edit labels"), "form": form}
        return self.render(self.model_admin.labels_template, context)


def format_changes(changes: Mapping[str, str | None]) -> str:
    """Return the new labels, and the keys that were removed."""
    texts = [
        _("%(key)s removed") % {"key": key} if value is None else format_label(key, value)
        for key, value in changes.items()
    ]
    return escape_direction_chars(", ".join(texts))
