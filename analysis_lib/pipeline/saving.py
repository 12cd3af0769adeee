"""A JupyterLab extension: git sees at once that a saved notebook differs in outputs alone.

Git's filter (lab/git_filter.sh) hides outputs, but ``git status`` takes any file of another size
than before for changed, without looking into it, and a pull then refuses to go on.
"""

import os


def _jupyter_server_extension_points():
    return [{"module": __name__}]


def _load_jupyter_server_extension(_server):
    """Too early: jupytext, if it is there, puts another contents manager in place."""


async def _start_jupyter_server_extension(server):
    server.contents_manager.register_post_save_hook(note_saved)


def note_saved(model, os_path, **_) -> None:
    """Have git note size and time of a saved notebook whose content, to git, is the same.

    Nothing is staged: a notebook with other changes, or that git does not track, is left alone.
    """
    from analysis_lib.report.manifest import git  # not before a server needs it

    folder, name = os.path.split(os_path)
    plain = (folder, "--literal-pathspecs")
    if model["type"] == "notebook" and git(*plain, "diff", "--quiet", "--", name) is not None:
        git(*plain, "add", "--update", "--", name)
