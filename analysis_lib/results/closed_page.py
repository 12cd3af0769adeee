"""Pages that load nothing and run no script but their own."""

import base64
import hashlib
import json
import re

REST = "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
INLINE = "'unsafe-inline'"  # for styles alone, where another program's page styles single elements


def closed(page, scripts=(), styles=INLINE) -> str:
    """A page with a Content-Security-Policy, under which nothing else runs and nothing is loaded.

    ``scripts`` and ``styles`` are texts of the page's own: others are markup that somebody planted.
    """
    styles = styles if isinstance(styles, str) else _hashes(styles)
    rules = f"default-src 'none'; script-src {_hashes(scripts)}; style-src {styles}; {REST}"
    meta = f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
    return re.sub(r"<head\b[^>]*>", lambda found: f"{found[0]}\n{meta}", page, count=1)


def scripts_of(page) -> list[str]:
    """Texts of a page's scripts, before anything that others wrote is put into it."""
    return re.findall(r"<script\b[^>]*>(.*?)</script>", page, flags=re.DOTALL)


def _hashes(texts):
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    sources = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    return " ".join(sources) or "'none'"


def in_script(value) -> str:
    """A value as JSON within a ``<script>``: no text of it ends the element."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
