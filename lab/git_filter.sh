#!/bin/sh
# Tell git, in this clone alone, how to see notebooks without outputs and without what JupyterLab
# notes when it saves. .gitattributes names the filter; a clone cannot bring its settings along.
# A folder that is no git repository of its own (a downloaded zip) is left as it is.
# Usage: sh lab/git_filter.sh PYTHON
set -eu
cd "$(dirname "$0")/.."
here="$(git rev-parse --is-inside-work-tree --show-prefix 2>/dev/null)" || exit 0
[ "$here" = true ] || exit 0
git config filter.nbstripout.clean "if command -v $1 >/dev/null; then $1 lab/strip.py; else cat; fi"
# Files as old as the index are read through the filter at every look until git notes that they are
# the same, which it does here, once: a run looks without touching the index.
git status --porcelain >/dev/null
