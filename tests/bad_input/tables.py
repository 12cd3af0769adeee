"""Spoilt tables: covariates, scores, and what was recorded of the trial's conduct."""

import json

import pandas as pd

from bad_input.frame import Case

PEOPLE, SCORES = "participants.tsv", "phenotype/hamd17.tsv"


def cell(column, value, row=0):
    """A value in participants.tsv."""

    def spoil(trial):
        trial.participants.loc[row, column] = value

    return spoil


def score(value, row=0, file="hamd17.tsv", column="total"):
    """A value in a scale's table."""

    def spoil(trial):
        trial.scales[file].loc[row, column] = value

    return spoil


def bytes_of(name, change):
    """Other bytes in a file below bids/."""
    return lambda trial: trial.edit(f"bids/{name}", change)


def text_of(name, before, after):
    """Other text in a file below bids/."""
    return bytes_of(name, lambda content: content.replace(before.encode(), after.encode(), 1))


def added(name, text):
    """A further file below bids/."""
    return bytes_of(name, lambda _: text.encode())


def sidecar(**about):
    """What participants.json says of age."""
    return added("participants.json", json.dumps({"age": about}))


def column(name, values, **settings):
    """A further column of participants.tsv, and settings that name it."""

    def spoil(trial):
        trial.participants[name] = values
        trial.content |= settings

    return spoil


def months(trial):
    """Ages in months, as the sidecar says."""
    trial.participants["age"] *= 12
    sidecar(Units="month")(trial)


def one_per_arm(trial):
    """Nearly everybody is left out."""
    trial.participants["eligible"] = ["yes", "yes", *["no"] * 6]
    trial.content["exclude"] = {"eligible": "no"}


def reversed_visits(trial):
    """One of sixteen participants, whose scores fall but for the one whose visits are reversed."""
    more = trial.participants.assign(
        participant_id=[f"sub-{i}" for i in range(11, 19)], age=[31, 42, 36, 53, 29, 48, 61, 34]
    )
    trial.participants = pd.concat([trial.participants, more], ignore_index=True)
    rows = [
        {"participant_id": who, "session_id": f"ses-{visit}", "total": total}
        for k, who in enumerate(trial.participants["participant_id"])
        for visit, total in zip(
            ("baseline", "week1", "week2"), (24 + k % 5, 17 + k % 4, 10 + (k * 7) % 6), strict=True
        )
    ]
    table = pd.DataFrame(rows).astype(object)
    trial.scales["hamd17.tsv"] = table
    trial.scales["hama.tsv"] = table.assign(total=table["total"] + table.index % 3)
    table.loc[[9, 11], "session_id"] = ["ses-week2", "ses-baseline"]


EVENTS = "participant_id\tsession_id\tterm\tseverity\tserious\trelated\n"
HEADACHE = "sub-01\tses-week1\theadache\tmild\tno\tyes\n"
STIMULATION = "participant_id\tsession\tdate\tpercent_motor_threshold\tpulses\n"


def intensities(*values):
    """stimulation.tsv with a session of each intensity."""
    rows = [f"sub-01\t{k}\tn/a\t{value}\t3000\n" for k, value in enumerate(values, 1)]
    return added("stimulation.tsv", STIMULATION + "".join(rows))


def late_event(trial):
    """An adverse event after the participant withdrew."""
    cell("withdrawn_after", "baseline")(trial)
    added("adverse_events.tsv", EVENTS + HEADACHE)(trial)


def days(*values):
    """Days of one participant's visits."""
    rows = [f"ses-{v}\t{d}\n" for v, d in zip(("baseline", "week1", "week2"), values, strict=True)]
    return added("sub-01/sub-01_sessions.tsv", "session_id\tdays\n" + "".join(rows))


SOUND = {
    "nothing": lambda trial: None,
    "Windows line ends and a byte order mark": bytes_of(
        PEOPLE, lambda content: b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")
    ),
    "ages in years, as the sidecar says": sidecar(Units="year"),
    "a score that was not taken": score("n/a"),
    "two events of one name at two visits": added(
        "adverse_events.tsv", EVENTS + HEADACHE + HEADACHE.replace("week1", "week2")
    ),
    "an adverse event before withdrawal": added("adverse_events.tsv", EVENTS + HEADACHE),
    "intensities between 80 and 120": intensities(80, 100, 120),
    "days that increase": days(0, 7, 15),
}
AGES = {
    "negative": (-41, "-41"),
    "zero": (0, "'0'"),
    "a code for missing": (999, "999"),
    "a year of birth": (1979, "1979"),
    "in months": (480, "480"),
    "infinite": ("inf", "'inf'"),
    "minus infinity": ("-inf", "'-inf'"),
    "beyond all measure": ("1e300", "1e300"),
    "too large for a number": ("1e400", "1e400"),
    "not a number": ("nan", "Missing is written n/a"),
    "with a decimal comma": ("41,5", "decimal point"),
    "a word": ("forty", "'forty'"),
    "with its unit": ("41 y", "'41 y'"),
    "empty": ("", "a value"),
}
COVARIATES = [
    *(
        Case(f"an age that is {name}", cell("age", value), (PEOPLE, "age", "sub-01", words))
        for name, (value, words) in AGES.items()
    ),
    Case("ages in months by the sidecar", months, ("participants.json", "age", "'month'")),
    Case("below the sidecar's Minimum", sidecar(Minimum=30), (PEOPLE, "from 30", "28")),
    Case("above the sidecar's Maximum", sidecar(Maximum=50), (PEOPLE, "to 50", "'60'")),
    Case("a sidecar that is cut off", added("participants.json", "{"), ("participants.json",)),
    Case("a sidecar that is a list", added("participants.json", "[1]"), ("participants.json",)),
    Case(
        "a sidecar that is nested too deeply",
        added("participants.json", "[" * 100_000),
        ("participants.json", "too deeply"),
    ),
    Case("a missing age", cell("age", "n/a"), (PEOPLE, "age", "n/a of sub-01")),
    Case("one sex in two spellings", cell("sex", "f"), (PEOPLE, "sex", "one spelling")),
    Case(
        "a covariate that says the arm",
        column("device", ["A", "B"] * 4, covariates=["device"]),
        (PEOPLE, "device", "Leave out what stands for the arm"),
    ),
    Case(
        "a factor that says the arm",
        column("device", ["A", "B"] * 4, model={"factors": ["device"]}),
        ("tiny.yml", "device", "Leave out what stands for the arm"),
    ),
    Case(
        "a covariate that is the same in everybody",
        column("hospital", 7, covariates=["age", "hospital"]),
        (PEOPLE, "hospital", "in every row", "adjusts for nothing"),
        "warned",
    ),
    Case(
        "a covariate of many words",
        column("town", [f"town {k}" for k in range(8)], covariates=["town"]),
        ("town",),
    ),
    Case(
        "a covariate of enormous numbers",
        column("income", [1e12, *range(7)], covariates=["income"]),
        ("income", "1e+09"),
    ),
    Case(
        "one duration in days among years",
        column("duration", [3650, 10, 8, 12, 9, 11, 7, 13], covariates=["duration"]),
        ("duration", "sub-01", "one unit"),
        "warned",
    ),
    Case(
        "two covariates that say the same",
        column(
            "born", [1990, 1979, 1985, 1968, 1992, 1973, 1960, 1987], covariates=["age", "born"]
        ),
        ("born", "differ"),
        "warned",
    ),
]
PARTICIPANTS = [
    Case("an arm that is no arm", cell("arm", "verum"), (PEOPLE, "active or sham", "'verum'")),
    Case("an arm with a capital", cell("arm", "Active"), ("did you mean 'active'",)),
    Case("no arm", cell("arm", "n/a"), (PEOPLE, "arm", "a value")),
    Case("one participant in each arm", one_per_arm, (PEOPLE, "at least 2", "1 of active")),
    Case(
        "nobody in an arm",
        lambda trial: trial.participants.update({"arm": ["active"] * 8}),
        (PEOPLE, "none of sham"),
    ),
    Case("a participant twice", cell("participant_id", "sub-02"), (PEOPLE, "once", "row 3")),
    Case("an id without prefix", cell("participant_id", "01"), (PEOPLE, "sub-", "'01'")),
    Case("an id with a space", cell("participant_id", "sub-0 1"), (PEOPLE, "'sub-0 1'")),
    Case("an id of 300 characters", cell("participant_id", "sub-" + 300 * "1"), (PEOPLE, "sub-")),
    Case("withdrawn after no visit", cell("withdrawn_after", "week9"), (PEOPLE, "'week9'")),
    Case(
        "strata that tell the arm",
        column("room", ["A", "B"] * 4, strata=["room"]),
        ("tiny.yml", "strata", "20 ways", "found 1"),
    ),
    Case(
        "strata of two",
        column("pair", [k // 2 for k in range(8)], strata=["pair"]),
        ("tiny.yml", "strata", "found 16"),
    ),
    Case(
        "a missing stratum",
        column("site", ["n/a", *"AABBABA"], strata=["site"]),
        (PEOPLE, "sub-01", "site"),
    ),
    Case("a column named twice", text_of(PEOPLE, "sex", "age"), (PEOPLE, "two columns named age")),
    Case("a column without a name", text_of(PEOPLE, "sex", ""), (PEOPLE, "no name over column 4")),
    Case("a column that is absent", text_of(PEOPLE, "age", "Age"), ("did you mean 'Age'",)),
]
RATINGS = [
    Case("a score above the range", score(99), (SCORES, "0 to 52", "99")),
    Case("a negative score", score(-1), (SCORES, "0 to 52", "-1")),
    Case("an infinite score", score("inf"), (SCORES, "0 to 52", "inf")),
    Case("a score with a comma", score("2,5"), (SCORES, "decimal point")),
    Case("a score in words", score("ill"), (SCORES, "'ill'")),
    Case("an empty score", score(""), (SCORES, "a value or n/a")),
    Case("the same score everywhere", score(20, slice(None)), (SCORES, "scores that differ", "20")),
    Case("a rating twice", score("ses-week1", 0, column="session_id"), (SCORES, "once", "row 3")),
    Case("an unknown visit", score("ses-week9", 0, column="session_id"), (SCORES, "'ses-week9'")),
    Case(
        "an unknown participant",
        score("sub-77", 0, column="participant_id"),
        (SCORES, "in participants.tsv", "'sub-77'"),
    ),
    Case(
        "nobody rated at baseline",
        lambda t: t.scales.update({"hamd17.tsv": t.scales["hamd17.tsv"].iloc[1::3]}),
        (SCORES, "ses-baseline"),
    ),
    Case(
        "a participant without rows",
        lambda t: t.scales.update({"hamd17.tsv": t.scales["hamd17.tsv"].iloc[3:]}),
        (SCORES, "none of sub-01"),
    ),
    Case(
        "a header alone",
        lambda t: t.scales.update({"hamd17.tsv": t.scales["hamd17.tsv"].iloc[:0]}),
        (SCORES, "rows expected"),
    ),
    Case("an absent table", lambda t: t.scales.pop("hama.tsv"), ("phenotype/hama.tsv", "file")),
    Case("visits in reverse order", reversed_visits, ("sub-04", "reverse"), "warned"),
    Case("days in reverse order", days(14, 7, 0), ("sub-01", "days", "increase"), "warned"),
    Case("days that are infinite", days(0, "inf", 14), ("sub-01", "days", "'inf'")),
]
READING = [
    Case(
        "line ends of old Macintoshes",
        bytes_of(SCORES, lambda content: content.replace(b"\n", b"\r")),
        (SCORES, "CR", "line ends of Unix or Windows"),
    ),
    Case(
        "a carriage return within a line",
        text_of(PEOPLE, "sub-03", "sub\r-03"),
        (PEOPLE, "line ends"),
    ),
    Case(
        "a cell of 200,000 characters",
        text_of(PEOPLE, "n/a", "x" * 200_000),
        (PEOPLE, "field limit", "shorten"),
    ),
    Case("an open quotation mark", text_of(PEOPLE, "sub-03", '"sub-03'), (PEOPLE, "a table")),
    Case("null bytes", text_of(SCORES, "sub-03", "sub\0-03"), (SCORES, "null bytes")),
    Case(
        "Latin-1",
        bytes_of(PEOPLE, lambda c: c.replace(b"sex", b"s\xe9x")),
        (PEOPLE, "Save", "UTF-8"),
    ),
    Case(
        "UTF-16",
        bytes_of(PEOPLE, lambda content: content.decode().encode("utf-16")),
        (PEOPLE, "UTF-16", "save it as UTF-8"),
    ),
    Case("commas", bytes_of(PEOPLE, lambda c: c.replace(b"\t", b",")), (PEOPLE, "commas")),
    Case(
        "a spreadsheet", bytes_of(PEOPLE, lambda _: b"PK\3\4" + bytes(99)), (PEOPLE, "spreadsheet")
    ),
    Case("an empty file", bytes_of(PEOPLE, lambda _: b""), (PEOPLE, "a table")),
    Case("a row too long", text_of(PEOPLE, "sub-01", "sub-01\tx\ty"), (PEOPLE, "more cells")),
    Case("a row too short", bytes_of(PEOPLE, lambda c: c + b"sub-09\tsham\n"), (PEOPLE, "row 10")),
    Case("random bytes", bytes_of(SCORES, lambda _: bytes(range(256)) * 9), (SCORES, "UTF-8")),
    Case(
        "a folder in the place of a table",
        lambda t: (t.scales.pop("hama.tsv"), t.edit("bids/phenotype/hama.tsv/x", lambda _: b"")),
        ("phenotype/hama.tsv", "file"),
    ),
]
CONDUCT = [
    Case(
        "an adverse event twice",
        added("adverse_events.tsv", EVENTS + HEADACHE + HEADACHE),
        ("adverse_events.tsv", "each event once", "sub-01"),
        "warned",
    ),
    Case(
        "an adverse event after withdrawal",
        late_event,
        ("adverse_events.tsv", "before its participant withdrew", "sub-01"),
        "warned",
    ),
    Case(
        "a term in two spellings",
        added("adverse_events.tsv", EVENTS + HEADACHE + HEADACHE.replace("head", "Head")),
        ("adverse_events.tsv", "one spelling"),
    ),
    Case(
        "an unknown severity",
        added("adverse_events.tsv", EVENTS + HEADACHE.replace("mild", "bad")),
        ("adverse_events.tsv", "severity", "'bad'"),
    ),
    Case(
        "an intensity as a share",
        intensities(120, 1.2, 120, 110),
        ("stimulation.tsv", "percent", "1.2"),
        "warned",
    ),
    Case("an intensity of 1,200", intensities(120, 1200), ("stimulation.tsv", "200", "1200")),
    Case("an infinite intensity", intensities(120, "inf"), ("stimulation.tsv", "inf")),
    Case(
        "a date of another form",
        added("stimulation.tsv", STIMULATION + "sub-01\t1\t1.2.2025\t100\t300\n"),
        ("stimulation.tsv", "2025-12-31"),
    ),
    Case("a guess that is none", column("guess", "perhaps"), (PEOPLE, "guess", "'perhaps'")),
    Case("a protocol cut off", added("stimulation.json", "{"), ("stimulation.json", "JSON")),
    Case(
        "a protocol in UTF-16",
        added("stimulation.json", "\ufeff{}".encode("utf-16").decode("latin-1")),
        ("stimulation.json", "JSON"),
    ),
    Case(
        "a protocol with a misspelt key",
        added("stimulation.json", '{"frequency": 10}'),
        ("stimulation.json", "frequency_hz"),
    ),
    Case(
        "an infinite frequency",
        added("stimulation.json", '{"frequency_hz": 1e999}'),
        ("stimulation.json", "frequency_hz"),
    ),
]
CASES = [
    *(Case(name, spoil, severity="accepted") for name, spoil in SOUND.items()),
    *COVARIATES,
    *PARTICIPANTS,
    *RATINGS,
    *READING,
    *CONDUCT,
]
