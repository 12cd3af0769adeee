"""Spoilt study files."""

from bad_input.frame import Case

FILE = "tiny.yml"


def key(**settings):
    """Other settings."""
    return lambda trial: trial.content.update(settings)


def scale(**settings):
    """Other settings of the primary scale."""
    return lambda trial: trial.content["scales"][0].update(settings)


def week1(week):
    """Another week of the second visit."""
    return lambda trial: trial.content["visits"].update(week1=week)


def text(before, after, encoding="utf-8"):
    """Another text of the study file."""

    def change(content):
        assert before.encode() in content
        return content.decode().replace(before, after, 1).encode(encoding)

    return lambda trial: trial.edit(FILE, change)


def whole(content):
    """Other bytes of the study file."""
    return lambda trial: trial.edit(FILE, lambda _: content)


BOMB = "x: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
KEYS = [
    Case("strata that are the arm", key(strata=["arm"]), (FILE, "strata", "is the arm")),
    Case(
        "a covariate that is the arm", key(covariates=["arm"]), (FILE, "covariates", "is the arm")
    ),
    Case("a covariate twice", key(covariates=["age", "age"]), (FILE, "'age'", "2 times")),
    Case("a stratum twice", key(strata=["sex", "sex"]), (FILE, "'sex'", "2 times")),
    Case("a factor that is the arm", key(model={"factors": ["arm"]}), (FILE, "model.factors")),
    Case("participants as a covariate", key(covariates=["participant_id"]), (FILE, "apart")),
    Case("a covariate that is absent", key(covariates=["wealth"]), ("column 'wealth'",)),
    Case("a week that is not a number", week1(float("nan")), (FILE, "visits.week1", "nan")),
    Case("an infinite week", week1(float("inf")), (FILE, "visits.week1", "inf")),
    Case("a week in words", week1("soon"), (FILE, "visits.week1", "'soon'")),
    Case("weeks that do not increase", week1(5), (FILE, "visits", "increase")),
    Case("one visit", key(visits={"baseline": 0}), (FILE, "visits", "at least one later")),
    Case("no visits", key(visits=None), (FILE, "visits")),
    Case("a primary visit that is none", key(primary_visit="week9"), (FILE, "'week9'")),
    Case("two scales of one file", scale(file="phenotype/hama.tsv"), (FILE, "2 scales read")),
    Case("one file, spelled twice", scale(file="./phenotype//hama.tsv"), (FILE, "2 scales read")),
    Case("two scales of one name", scale(name="HAMA"), (FILE, "share the name")),
    Case("a scale of 300 letters", scale(name="H" * 300), (FILE, "scales.0.name", "64")),
    Case("a scale without letters", scale(name="?"), (FILE, "scales.0.name")),
    Case("no primary scale", scale(primary=False), (FILE, "primary: true", "found 0")),
    Case("a range from high to low", scale(range=[52, 0]), (FILE, "low before high")),
    Case("a range without end", scale(range=[0, float("inf")]), (FILE, "range", "inf")),
    Case("a range of nothing", scale(range=[float("nan"), 52]), (FILE, "range", "nan")),
    Case("a range of three", scale(range=[0, 1, 2]), (FILE, "range")),
    Case("remission outside the range", scale(remission_at_most=99), (FILE, "outside its range")),
    Case("a scale's file that is absent", scale(file="phenotype/x.tsv"), ("phenotype/x.tsv",)),
    Case(
        "arms that are one", key(arms={"column": "arm", "active": 1, "control": 1}), (FILE, "arms")
    ),
    Case(
        "an arm that nobody has",
        key(arms={"column": "arm", "active": "verum", "control": "sham"}),
        ("participants.tsv", "verum or sham"),
    ),
    Case(
        "an arm's column that is absent",
        lambda t: t.content["arms"].update(column="group"),
        ("group",),
    ),
    Case(
        "everybody excluded", key(exclude={"sex": ["F", "M"]}), ("participants.tsv", "at least 2")
    ),
    Case("nobody to exclude", key(exclude={"sex": "X"}), (FILE, "exclude", "which nobody has")),
    Case("a misspelt key", key(covariate=["age"]), (FILE, "did you mean 'covariates'")),
    Case("a name with a capital", key(name="Tiny"), (FILE, "name", "'Tiny'")),
    Case("a name that is a path", key(name="../tiny"), (FILE, "name", "'../tiny'")),
    Case("a name of 300 characters", key(name="a" * 300), (FILE, "name", "64 characters")),
    Case("a data folder that is absent", key(data="nowhere"), ("participants.tsv", "nowhere")),
    Case("a window without end", key(windows={"week1": [0, float("nan")]}), (FILE, "windows")),
    Case("an unknown warning accepted", key(accept=["all"]), (FILE, "accept", "'all'")),
    Case("an atlas that is none", key(atlas="neuromorfometrics"), (FILE, "did you mean")),
    Case("a receptor that is none", key(receptors=["D9"]), (FILE, "receptors")),
    Case(
        "an estimand without a rule",
        key(estimand={"treatment_stopped": "composite"}),
        (FILE, "estimand", "needs a rule"),
    ),
    Case(
        "an infinite composite score",
        key(estimand={"treatment_stopped": {"composite": float("inf")}}),
        (FILE, "estimand"),
    ),
    Case("arms that are left empty", key(arms=None), (FILE, "the word none")),
    Case("a title of two lines", key(title="A\nB"), (FILE, "title")),
    Case("a region twice", key(regions=["left amygdala"] * 2), (FILE, "regions", "2 times")),
    Case("a week in 100 years", key(visits={"baseline": 0, "week1": 5201}), (FILE, "5200")),
    Case("no response", scale(response={"percent": 150, "of": "baseline"}), (FILE, "response")),
]
YAML = [
    Case("Latin-1", text("A tiny", "Â tiny", "latin-1"), (FILE, "UTF-8", "Save it as UTF-8")),
    Case("UTF-16", text("A tiny", "A tiny", "utf-16"), (FILE, "UTF-16", "Save it as UTF-8")),
    Case("a null byte", text("A tiny", "A\0tiny"), (FILE, "not valid YAML")),
    Case("tabs", text("  column", "\tcolumn"), (FILE, "not with tabs")),
    Case("a key twice", text("title:", "name: other\ntitle:"), (FILE, "'name' is given twice")),
    Case("a bomb of aliases", text("name:", f"{BOMB}name:"), (FILE, "aliases")),
    Case("an alias of itself", text("A tiny trial", "&a [*a]"), (FILE, "title")),
    Case("deep nesting", text("A tiny trial", "[" * 3000 + "]" * 3000), (FILE, "20 levels")),
    Case("many values", text("A tiny trial", f"[{'x,' * 20_000}]"), (FILE, "10,000 values")),
    Case("a day that is none", text("A tiny trial", "2025-13-45"), (FILE, "not valid YAML")),
    Case("a number of 9,999 digits", text("A tiny trial", "9" * 9999), (FILE, "not valid YAML")),
    Case("a Python object", text("A tiny trial", "!!python/name:os.system"), (FILE, "YAML")),
    Case("nothing", whole(b""), (FILE, "keys and values")),
    Case("a list", whole(b"- a\n"), (FILE, "keys and values", "list")),
    Case("random bytes", whole(bytes(range(256))), (FILE, "UTF-8")),
    Case("a bracket that is open", text("A tiny trial", "[a"), (FILE, "not valid YAML")),
]
PATHS = [
    Case("a data folder of 300 characters", key(data="a" * 300), ("too long", "shorter")),
    Case("a scale's file of 300 characters", scale(file="a" * 300), ("too long", "shorter")),
    Case("an atlas of 300 characters", key(atlas="a" * 300), ("too long", "shorter")),
    Case("a data folder with a null byte", key(data="a\0b"), (FILE, "null byte")),
    Case("a scale's file that is a folder", scale(file="phenotype"), ("phenotype", "file")),
]
CASES = [*KEYS, *PATHS, *YAML]
