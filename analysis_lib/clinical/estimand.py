"""Intercurrent events: the strategy of each, carried out on the ratings (ICH E9(R1))."""

import pandas as pd

from analysis_lib.study.contract import ARMS

SAID = {"hypothetical": "set aside", "treatment_policy": "used"}
COLUMNS = ["event", "strategy", "handled", "n_active", "n_control"]
COLUMNS += ["ratings_active", "ratings_control"]


def apply_estimand(study, events, ratings):
    """Ratings as the strategies have them, and what was done to those after an event.

    hypothetical: ratings after the event are set aside. treatment_policy: they are used. A rule
    replaces all scores after the event: composite by the worst score of the scale, the baseline or
    a score; while_on_treatment by the last score before the event.

    ``events`` are `study.participants.intercurrent_events`. The table has a row for each event and
    strategy: participants who had it, and ratings made after it, by arm; handled says what became
    of these: used, set aside or replaced.
    """
    after = _after(study, events, ratings)
    strategy = ratings["participant_id"].map(events["strategy"]).where(after)
    rules = strategy.map(lambda one: isinstance(one, dict))
    kept = ratings.assign(score=ratings["score"].mask(strategy.eq("hypothetical")))
    kept = pd.concat([kept[~rules], *_replaced(study, events, ratings)], ignore_index=True)
    kept = kept.sort_values(["participant_id", "visit"], kind="stable")
    order = [scale.name for scale in study.scales]
    kept = kept.sort_values("scale", key=lambda s: s.map(order.index), kind="stable")
    return kept.reset_index(drop=True), _counted(events, ratings[after])


def _after(study, events, ratings):
    """Whether each rating was made after the participant's event."""
    return ratings["week"] > ratings["participant_id"].map(events["after"]).map(study.visits)


def _replaced(study, events, ratings):
    """Rows that a rule puts in place of a participant's ratings after the event."""
    for who, event in events.iterrows():
        if isinstance(event["strategy"], dict):
            for scale in study.scales:
                own = ratings[ratings["participant_id"].eq(who) & ratings["scale"].eq(scale.name)]
                yield _by_rule(study, scale, own, who, event)


def _by_rule(study, scale, own, who, event):
    scores = own.dropna(subset=["score"]).set_index("visit")["score"]
    before = scores[[v for v in scores.index if study.visits[v] <= study.visits[event["after"]]]]
    (rule,) = event["strategy"].values()
    worst = scale.range[1] if scale.best == scale.range[0] else scale.range[0]
    known = {"worst": worst, "baseline": scores.get(study.baseline)}
    known["last"] = before.iloc[-1] if len(before) else None
    visits = [v for v, w in study.visits.items() if w > study.visits[event["after"]]]
    rows = pd.DataFrame({"visit": pd.Categorical(visits, list(study.visits), ordered=True)})
    rows["week"] = rows["visit"].map(study.visits).astype(float)
    rows["score"] = float("nan") if known.get(rule, rule) is None else float(known.get(rule, rule))
    return rows.assign(participant_id=who, arm=event["arm"], scale=scale.name)[list(own.columns)]


def _words(strategy):
    if isinstance(strategy, str):
        return strategy
    return ", ".join(f"{name}: {rule}" for name, rule in strategy.items())


def _counted(events, later):
    words = events["strategy"].map(_words)
    rows = []
    for (event, strategy), own in events.groupby([events["event"], words]):
        row = {"event": event, "strategy": strategy, "handled": SAID.get(strategy, "replaced")}
        made = later[later["participant_id"].isin(own.index)].dropna(subset=["score"])
        for arm in ARMS:
            row |= {f"n_{arm}": int(own["arm"].eq(arm).sum())}
            row |= {f"ratings_{arm}": int(made["arm"].eq(arm).sum())}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def describe_estimand(study) -> str:
    """The strategies of the study file, a line for each intercurrent event."""
    told = {"treatment_stopped": "hypothetical"} | study.estimand
    lines = [
        f"{name.replace('_', ' ')}: {_words(strategy).replace('_', ' ')}"
        f"{MEANS.get(strategy if isinstance(strategy, str) else '', MEANS['rule'])}"
        for name, strategy in told.items()
    ]
    return "\n".join(lines)


MEANS = {
    "hypothetical": " strategy: as if treatment had gone on; ratings after the event are set aside",
    "treatment_policy": " strategy: whatever happened; ratings after the event are used",
    "rule": ": stands for every score after the event",
}
