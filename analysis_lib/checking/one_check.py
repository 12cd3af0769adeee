"""The one check of a study, made of each package's own.

`python -m analysis_lib check-study` prints all that it finds. A run asks only for what concerns
the notebooks that it is about to run, and starts none of them where there are errors.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from analysis_lib.atlas import placement, region_table
from analysis_lib.clinical import dry_run
from analysis_lib.receptors import inputs, own_maps
from analysis_lib.results.problems import CompendiumError, Problem, refusals
from analysis_lib.study import (
    conduct,
    image_problems,
    participants,
    pseudonyms,
    receptor_files,
    scores,
)
from analysis_lib.vbm import content, diagnostics, region_tests, regions


@dataclass(frozen=True)
class Check:
    """A package's own check and the numbers of the notebooks that read what it looks at."""

    problems: Callable  # of the study, and the participants where files name them
    steps: str  # numbers, with spaces between
    of_people: bool = False  # left out where participants.tsv names nobody
    of_maps: bool = False  # left out where notebook 00 is still to make the maps, or there are none
    of_effect: bool = False  # made where the study is one map without participants, too
    of_primary: bool = False  # of the scales only the primary one, to which images are related


CHECKS = (
    Check(participants.problems, "00 01 02 03"),
    Check(scores.problems, "01"),
    Check(scores.problems, "02 03", of_primary=True),
    Check(dry_run.problems, "01"),
    Check(conduct.problems, "01", of_people=True),
    Check(pseudonyms.problems, "00 01 02"),
    Check(image_problems.map_name_problems, "01 02 03", of_people=True, of_maps=True),
    Check(image_problems.map_problems, "02 03", of_people=True, of_maps=True),
    Check(content.problems, "02 03", of_people=True, of_maps=True),
    Check(image_problems.t1w_problems, "00", of_people=True),
    Check(image_problems.head_problems, "00", of_people=True),
    Check(receptor_files.problems, "03", of_effect=True),
    Check(own_maps.problems, "03", of_effect=True),
    Check(inputs.problems, "03", of_effect=True),
    Check(region_table.problems, "02 03", of_effect=True),
    Check(region_tests.problems, "02 03", of_people=True),
    Check(placement.problems, "02 03", of_effect=True),
    Check(regions.problems, "02"),
    Check(diagnostics.problems, "02 03", of_people=True),
)


def check(study, steps=()) -> list[Problem]:
    """What is wrong with a study's files.

    Parameters
    ----------
    study : analysis_lib.study.contract.Study
    steps : sequence of str
        Numbers of the notebooks that are to run ("02"): problems of what they do not read are left
        out. None: everything is checked.

    Returns
    -------
    list of Problem
        Errors and warnings, each once.
    """
    return list(concerns(study, steps))


def concerns(study, steps=()) -> dict[Problem, set]:
    """The same, each with the numbers of the notebooks that read what it is about."""
    with refusals(study.root):
        people = None if study.effect else scores.provisional_participants(study)
    coming = study.regional or ("00" in steps and not study.own_maps())
    wanted = [one for one in CHECKS if not steps or set(steps) & set(one.steps.split())]
    others = {scale.file for scale in study.scales if not scale.primary}
    found, told = {}, {}  # told: by what a check calls, which two may share
    for one in [one for one in wanted if one.of_effect or not study.effect]:
        if (one.of_people and people is None) or (one.of_maps and coming):
            continue
        if one.problems not in told:
            told[one.problems] = _told(one, study, *([people] if one.of_people else []))
        for problem in told[one.problems]:
            if one.of_primary and problem.file in others:
                continue
            known = replace(problem, accepted=problem.warning in study.accept)
            found.setdefault(known, set()).update(one.steps.split())  # two may read one file
    return found


def _told(one, *arguments):
    """Problems that a check finds; or that the system has with its files."""
    try:
        with refusals():
            return list(one.problems(*arguments))
    except CompendiumError as error:
        return error.problems


def warnings_of(step, found) -> dict:
    """How many warnings of each name concern a notebook, and whether the study accepts them."""
    of = [problem for problem, steps in found.items() if problem.warning and step in steps]
    accepted = {problem.warning: problem.accepted for problem in of}
    counts = Counter(problem.warning for problem in of)
    return {name: {"count": counts[name], "accepted": accepted[name]} for name in sorted(counts)}


def errors(problems) -> list[Problem]:
    """Problems that stop an analysis; the others are warnings."""
    return [problem for problem in problems if problem.severity == "error"]
