"""The worked example of the README prints what the README says."""

import contextlib
import io
import re
from pathlib import Path


def test_the_worked_example_prints_what_the_readme_shows():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code, shown = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", readme, re.S).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == shown
