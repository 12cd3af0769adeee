"""Whether the parts of a study file fit together: visits, scales, models, receptor maps."""

import itertools
from collections import Counter
from posixpath import normpath


def inconsistencies(study) -> list[str]:
    """What does not fit together in a study, in words."""
    of_people = (_visit_problems, _scale_problems, _model_problems)
    parts = (_receptor_problems, *((_effect_problems,) if study.effect else of_people))
    return [problem for part in parts for problem in part(study)]


def _repeated(things):
    """How often each thing is there that is there more than once."""
    return {thing: n for thing, n in Counter(things).items() if n > 1}.items()


def _effect_problems(study):
    for key in ("visits", "scales", "imaging", "covariates", "strata", "exclude", "arms"):
        if getattr(study, key):
            yield f"{key}: one map has no participants; leave the key out"


def _visit_problems(study):
    weeks = list(study.visits.values())
    visits = ", ".join(study.visits)
    if len(weeks) < 2:
        yield f"visits: a baseline and at least one later visit are needed, found {len(weeks)}"
    if weeks and (weeks[0] != 0 or any(b <= a for a, b in itertools.pairwise(weeks))):
        yield f"visits: weeks must start at 0 and increase, found {weeks}"
    if study.primary_visit is not None and study.primary_visit not in list(study.visits)[1:]:
        yield f"primary_visit: {study.primary_visit!r} is not a visit after baseline ({visits})"
    for visit, (low, high) in study.windows.items():
        if visit not in study.visits or not low <= high:
            yield f"windows: {visit}: a visit ({visits}) and its first and last day expected"
    sessions = dict(study.imaging.sessions) if study.imaging else {}
    for when, visit in sessions.items():
        if visit not in study.visits:
            yield f"imaging.sessions.{when}: {visit!r} is not among the visits ({visits})"
    if len(set(sessions.values())) == 1:
        yield "imaging.sessions: pre and post are the same visit"


def _model_problems(study):
    where = {"strata": study.strata, "covariates": study.covariates}
    where |= {"model.factors": study.model.factors, "model.covariates": study.model.covariates}
    for key, names in where.items():
        if study.arms and study.arms.column in names:
            yield f"{key}: {study.arms.column!r} is the arm: nothing can be adjusted for it"
        if "participant_id" in names:
            yield f"{key}: participant_id tells everybody apart: nothing can be adjusted for it"

    for key, names in {**where, "regions": study.regions, **study.region_sets}.items():
        for name, n in _repeated(names):
            yield f"{key}: {name!r} is named {n} times: name it once"


def _scale_problems(study):
    n_primary = sum(scale.primary for scale in study.scales)
    if n_primary != 1:
        yield f"scales: exactly one must say primary: true, found {n_primary}"
    for key, n in _repeated(scale.key for scale in study.scales):
        yield f"scales: {n} scales share the name {key!r}: names must differ"
    for (file, column), n in _repeated((normpath(s.file), s.column) for s in study.scales):
        yield f"scales: {n} scales read column {column} of {file}: each has its own"


def _receptor_problems(study):
    if not study.receptors:
        yield "receptors: name at least one map, or leave the key out for the default set"
    own = [entry for entry in study.receptors if not isinstance(entry, str)]
    for annotation, n in _repeated(entry.annotation for entry in own):
        yield f"receptors: {n} files would be called {annotation}: file names must differ"
