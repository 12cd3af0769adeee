"""Participant flow."""

from analysis_lib.study.contract import ARMS


def participant_flow(study, participants, ratings, pairs=None):
    """Count participants from randomisation to analysis, by arm, with reasons.

    For each arm: randomised; excluded, withdrew and not_scanned_twice (participants by reason);
    rated (participants with the primary score, by visit); analysed (with a baseline and at least
    one later primary score); not_analysed (how many others are not excluded, by reason);
    scanned_twice, where ``pairs`` of maps are given. Protected participants are counted, not named.
    """
    flow = {arm: _arm_flow(study, arm, participants, ratings, pairs) for arm in ARMS}
    return _unnamed(flow) if study.protected else flow


def _unnamed(part):
    """The same with lists of names as long, and without names."""
    if isinstance(part, dict):
        return {name: _unnamed(value) for name, value in part.items()}
    return ["a participant"] * len(part) if isinstance(part, list) else part


def _arm_flow(study, arm, participants, ratings, pairs):
    own = participants[participants["arm"] == arm]
    scored = ratings[(ratings["arm"] == arm) & (ratings["scale"] == study.primary_scale.name)]
    scored = scored.dropna(subset=["score"])
    rated = {v: set(scored.loc[scored["visit"] == v, "participant_id"]) for v in study.visits}
    later = set().union(*(rated[visit] for visit in study.post_visits))
    flow = {
        "randomised": len(own),
        "excluded": _by_reason(own, "excluded"),
        "withdrew": _by_reason(own[own["excluded"].isna()], "withdrawn_after"),
        "rated": {visit: len(who) for visit, who in rated.items()},
        "analysed": len(rated[study.baseline] & later),
        "not_analysed": _not_analysed(own, rated[study.baseline], later),
    }
    if pairs is not None:
        mine = pairs[pairs["arm"] == arm]
        flow["scanned_twice"] = int((mine["status"] == "analysed").sum())
        flow["not_scanned_twice"] = _by_reason(mine[mine["status"] != "analysed"], "status")
    return flow


def _not_analysed(own, first, later):
    """Randomised and not excluded, but without baseline or later score: number by reason."""
    who = set(own.loc[own["excluded"].isna(), "participant_id"])
    reasons = {
        "no rating after baseline": len(who & first - later),
        "no baseline": len(who & later - first),
        "never rated": len(who - first - later),
    }
    return {why: n for why, n in reasons.items() if n}


def _by_reason(table, column):
    groups = table.dropna(subset=[column]).groupby(column, sort=True)["participant_id"]
    return {str(reason): sorted(who) for reason, who in groups}
