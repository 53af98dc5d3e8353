"""Reports for people: pages and figures made of certificates. Needs Jinja, which ``unlearnkit[report]`` brings."""

from __future__ import annotations

from unlearnkit.errors import UnlearnkitError

try:
    from unlearnkit.report.html import Verified, render_report
    from unlearnkit.report.page import Page, certificate_page
    from unlearnkit.report.profile import stability_figure
except ModuleNotFoundError as err:
    if err.name not in ("jinja2", "markupsafe"):
        raise
    raise UnlearnkitError(
        "a report needs Jinja, which is not installed", hint='pip install "unlearnkit[report]"'
    ) from err

__all__ = ["Page", "Verified", "certificate_page", "render_report", "stability_figure"]
