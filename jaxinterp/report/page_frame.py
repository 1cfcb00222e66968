"""What our HTML pages have in common: their templates, style and script."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

import jinja2

__all__ = ["asset", "page_environment", "script_hash"]


def page_environment() -> jinja2.Environment:
    """Our templates: everything is escaped, and a name that is not given is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("jaxinterp.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def asset(name: str) -> str:
    """Our own style or script, which goes into a page as it is."""
    return (resources.files("jaxinterp.report") / "templates" / name).read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """By which a page's content security policy allows its own script and no other."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
