"""nbstripout, with its arguments, as git's filter (lab/git_filter.sh) and before commits."""

import sys

# A grammar of web addresses, two seconds of every "git status"; a notebook is checked without it.
sys.modules["rfc3987_syntax"] = None

from nbstripout import main  # noqa: E402

WRITTEN_BY_JUPYTERLAB = "metadata.language_info metadata.jupytext cell.metadata.trusted"

if __name__ == "__main__":
    sys.argv[1:1] = ["--extra-keys", WRITTEN_BY_JUPYTERLAB]
    sys.exit(main())
