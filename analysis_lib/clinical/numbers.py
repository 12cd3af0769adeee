"""Numbers of notebook 01 that texts and figures quote."""


def clinical_numbers(study, results):
    """Numbers of notebook 01 that texts and figures quote: name to (value, source file).

    Parameters
    ----------
    study : Study
    results : Section
        Of notebook 01 or 01_courses; without responders where they could not be computed.
    """
    if not study.arms:
        return _course_numbers(study, results.json("flow"), results.table("change"))
    numbers = {}
    for arm, counts in results.json("flow").items():
        for stage in ("randomised", "analysed"):
            numbers[f"flow.{arm}.{stage}"] = (counts[stage], "flow.json")
    keys = {scale.name: scale.key for scale in study.scales}
    for _, row in results.table("mmrm_contrasts").iterrows():
        for name in ("estimate", "ci_low", "ci_high", "p", "hedges_g"):
            key = f"{keys[row['scale']]}.{row['visit']}.{name}"
            numbers[key] = (row[name], "mmrm_contrasts.tsv")
    if not results.has("responders"):
        return numbers
    rows = results.table("responders")
    rows = rows[rows["analysis"] == "missing_is_failure"]
    for _, row in rows[rows["visit"] == study.final_visit].iterrows():
        for name in ("events_active", "events_control", "risk_difference", "ci_low", "ci_high"):
            key = f"{keys[row['scale']]}.{row['visit']}.{row['outcome']}.{name}"
            numbers[key] = (row[name], "responders.tsv")
    return numbers


def _course_numbers(study, flow, change):
    numbers = {f"flow.{name}": (n, "flow.json") for name, n in flow.items()}
    keys = {scale.name: scale.key for scale in study.scales}
    for _, row in change.iterrows():
        for name in ("mean", "ci_low", "ci_high", "p"):
            numbers[f"{keys[row['scale']]}.{row['visit']}.{name}"] = (row[name], "change.tsv")
    return numbers
