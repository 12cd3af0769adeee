"""A notebook's first call: parameters checked, study read, and the folder for what it writes."""

from analysis_lib.results.environment import notebook_path
from analysis_lib.study import variants
from analysis_lib.study.contract import Study, load_study
from analysis_lib.study.parameters import check_parameters, default_parameters
from analysis_lib.study.pseudonyms import pseudonymised


def open_study(notebook, values) -> Study:
    """Open the study of a notebook, with the variant that its parameters make.

    Parameters
    ----------
    notebook : str
        Name without suffix: "02_vbm".
    values : dict
        The notebook's ``globals()``.

    Returns
    -------
    Study
        Its results go to the default folder where every parameter has its default; else to that of
        the variant that ``variant`` names, or that is named after what was changed. Real
        participants have pseudonyms.

    Raises
    ------
    UsageError
        If a parameter is out of its range, or ``variant`` is not fit to name a folder.
    StudyError
        If the study file is wrong.
    """
    check_parameters(notebook, values)
    changes = variants.changed(default_parameters(notebook_path(notebook)), values)
    given = variants.checked(values.get("variant", ""))
    study = load_study(values["study"], variant=given or variants.name_of(changes))
    return pseudonymised(study)
