"""The form of a retention policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from weavegraph_checkpoints.admin.labels import parse_terms
from weavegraph_checkpoints.domain.labels import merge_labels
from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, MAX_STEP
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.exceptions import InvalidPolicy
from weavegraph_checkpoints.fields import validate_session_id


class IdField(forms.CharField):
    """An optional session id or owner."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False,
            strip=False,
            max_length=MAX_SESSION_ID_LENGTH,
            validators=[validate_session_id],
            **kwargs,
        )


class LabelTermsField(forms.CharField):
    """Optional labels, separated by spaces; the value is a dict."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)

    def clean(self, value: str | None) -> dict[str, str]:
        """Return the labels. Raise ``ValidationError``."""
        text = super().clean(value)
        pairs = parse_terms(text) if text else []
        labels = None if pairs is None else merge_labels(pairs)
        if labels is None:
            raise forms.ValidationError(
                _("Enter labels such as customer=4711 env=test, one value for each key.")
            )
        return labels


class PruneForm(forms.Form):
    """A retention policy: its rules and the sessions it applies to."""

    keep_last = forms.IntegerField(
        label=gettext_lazy("Keep last"),
        required=False,
        min_value=1,
        max_value=MAX_STEP,
        help_text=gettext_lazy("Delete all but the newest N steps of each session."),
    )
    older_than = forms.CharField(
        label=gettext_lazy("Older than"),
        required=False,
        help_text=gettext_lazy(
            "Delete steps older than this, for example 30d, 12h, 2w or 90m. If both rules are "
            "set, a step is deleted only when both match. The newest step of a session is never "
            "deleted."
        ),
    )
    delete_inactive = forms.CharField(
        label=gettext_lazy("Delete inactive"),
        required=False,
        help_text=gettext_lazy("Delete whole sessions that were not updated for this long."),
    )
    session = IdField(label=gettext_lazy("Only this session"))
    status = forms.ChoiceField(label=gettext_lazy("Only this status"), required=False)
    owner = IdField(label=gettext_lazy("Only this owner"))
    labels = LabelTermsField(
        label=gettext_lazy("Only these labels"),
        help_text=gettext_lazy(
            "Only sessions that have all of these labels, for example customer=4711 env=test."
        ),
    )

    def __init__(self, *args: Any, statuses: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", gettext_lazy("any")), *statuses.items()]
        self.fields["status"].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> None:
        """Set ``policy``, if all fields are valid."""
        if self.errors:
            return
        values = {name: value for name, value in self.cleaned_data.items() if value}
        if "session" in values:
            values["session_ids"] = [values.pop("session")]
        try:
            self.policy = RetentionPolicy.from_mapping(values)
        except InvalidPolicy as error:
            if error.path in self.fields:
                self.add_error(error.path, _("Enter a duration such as 30d, 12h, 2w or 90m."))
            else:
                self.add_error(None, _("Set at least one of the first three fields."))

    def get_values(self) -> dict[str, str]:
        """Return what the user entered, without the empty fields."""
        return {name: self.data[name] for name in self.fields if self.data.get(name)}
