"""The study contract: one YAML file beside a BIDS dataset.

A study file names the arms, visits, scales and images of a trial. It is checked as a whole when it
is loaded, and every problem is reported at once.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from analysis_lib.results.contrasts import CHANGE, EFFECT, OF_CHANGE, contrast_title
from analysis_lib.results.environment import PROJECT
from analysis_lib.results.files import read_text
from analysis_lib.results.problems import WARNINGS, Problem, StudyError, refusals
from analysis_lib.study.consistency import inconsistencies
from analysis_lib.study.enclosure import refuse_outside
from analysis_lib.study.items import MAXIMA
from analysis_lib.study.on_disk import OnDisk
from analysis_lib.study.place import Place
from analysis_lib.study.yaml_reading import parse_yaml

ARMS = ("active", "control")
TABLES = (".tsv", ".csv")

STUDIES = PROJECT / "data" / "studies"
ATLASES = (  # known by name; of the schaefer ones, parcels
    *("neuromorphometrics", "aal", "schaefer100_tian_s1", "dkt31_aseg"),
    *("harvard_oxford", "harvard_oxford_subcortex", "aal3", "destrieux"),
    *(f"schaefer{n}" for n in range(100, 1001, 100)),
)
FRONTAL_LIMBIC = (  # regions of interest of a study that names none (atlas neuromorphometrics)
    "left middle frontal gyrus",
    "left anterior cingulate gyrus",
    "left anterior insula",
    "left amygdala",
    "left hippocampus",
)

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
# Labels are text, also those that YAML takes for numbers.
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$", max_length=64, coerce_numbers_to_str=True)]
Word = Annotated[str, Field(coerce_numbers_to_str=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Arms(_Strict):
    """Column of participants.tsv with the arm, its two values, and the arms' names in text.

    Participants of the arms in ``left_out`` are in the flow and nowhere else.
    """

    column: str
    active: Word
    control: Word
    active_name: str | None = None
    control_name: str | None = None
    left_out: list[Word] = []

    @model_validator(mode="after")
    def _two_arms(self):
        if both := {self.active, self.control} & set(self.left_out):
            raise ValueError(f"left_out holds {both.pop()!r}, which is one of the two arms")
        if self.active == self.control:
            raise ValueError(f"active and control are both {self.active!r}: name two arms")
        return self


# Scales of functioning, well-being and cognition, by their names.
HIGHER_IS_BETTER = ("gaf", "cgas", "sofas", "psp", "who5", "mmse", "moca")


def _key(name):
    return "".join(c for c in name.lower() if c.isalnum())


class Response(_Strict):
    """What counts as response: a gain of points, or of a percentage of something.

    ``of`` is the baseline score, or the room: the distance from baseline to the best score.
    """

    points: PositiveFloat | None = None
    percent: Annotated[float, Field(gt=0, le=100)] | None = None
    of: Literal["baseline", "room"] | None = None

    @model_validator(mode="after")
    def _one_rule(self):
        if (self.points is None) == (self.percent is None) or bool(self.percent) != bool(self.of):
            raise ValueError("{points: 5}, or {percent: 50, of: baseline or room}, expected")
        return self


class Scale(_Strict):
    """A clinical scale: its file, the column of its total, the range that scores can take."""

    name: Annotated[str, Field(pattern="[A-Za-z0-9]", max_length=64)]
    file: str
    column: str = "total"
    range: tuple[float, float]
    primary: bool = False
    better: Literal["lower", "higher"] = "lower"
    response: Response | None = None  # default where lower is better: 50 % of baseline
    remission_at_most: float | None = None
    remission_at_least: float | None = None
    items: str | None = None  # a scale of `study.items`, where the name does not tell
    prorate_at_most: NonNegativeInt = 0  # missing items that a total may have

    @model_validator(mode="before")
    @classmethod
    def _known_direction(cls, given):
        known = isinstance(given, dict) and _key(str(given.get("name"))) in HIGHER_IS_BETTER
        return {"better": "higher"} | given if known else given

    @model_validator(mode="after")
    def _ordered(self):
        low, high = self.range
        if not low < high:
            raise ValueError(f"range of {self.name} is [{low:g}, {high:g}]: low before high")
        if self.items is not None and self.items not in MAXIMA:
            raise ValueError(f"items of {self.name}: one of {', '.join(MAXIMA)} expected")
        right, wrong = ("most", "least") if self.better == "lower" else ("least", "most")
        if getattr(self, f"remission_at_{wrong}") is not None:
            raise ValueError(
                f"remission_at_{wrong} of {self.name}, where {self.better} is better: "
                f"remission_at_{right} expected"
            )
        if self.remission is not None and not low <= self.remission <= high:
            cut = f"remission_at_{right} of {self.name} is {self.remission:g}"
            raise ValueError(f"{cut}, outside its range")
        return self

    @property
    def remission(self) -> float | None:
        """Cut-off of remission."""
        return self.remission_at_most if self.better == "lower" else self.remission_at_least

    @property
    def gain(self) -> int:
        """Sign of a change for the better."""
        return -1 if self.better == "lower" else 1

    @property
    def best(self) -> float:
        """The best score."""
        return self.range[0] if self.better == "lower" else self.range[1]

    @property
    def key(self) -> str:
        """Name for files and numbers: letters and digits, lower case."""
        return _key(self.name)


class Sessions(_Strict):
    """Visits at which the images before and after treatment were taken."""

    pre: Word
    post: Word


class Imaging(_Strict):
    """Where images are (globs below the data folder).

    Without ``grey_matter``, or where it matches nothing, notebook 00 makes the maps from the
    T1-weighted images. ``table`` is a file of regional changes instead of images, one row per
    participant, below the data folder, too.
    """

    sessions: Sessions
    table: str | None = None
    values: Literal["percent_change"] = "percent_change"
    t1w: str = "sub-*/ses-*/anat/*_T1w.nii*"
    grey_matter: str | None = None
    accept_unmodulated: bool = False

    @field_validator("t1w", "grey_matter")
    @classmethod
    def _below_the_data(cls, pattern):
        if pattern is not None and (not pattern or Path(pattern).is_absolute()):
            raise ValueError(
                f"a pattern of files below the data folder expected, found {pattern!r}"
            )
        return pattern


class Effect(_Strict):
    """One map that somebody else made: an image in MNI space, or a table of region values.

    ``file`` is relative to the study file. ``region``, ``value`` and ``se`` are columns of a table.
    """

    file: str
    kind: Literal["t", "d", "beta", "percent"]
    n: PositiveInt | None = None
    region: str = "region"
    value: str = "value"
    se: str | None = None

    @property
    def is_table(self) -> bool:
        """Whether the file is a table of region values."""
        return self.file.endswith(TABLES)

    @model_validator(mode="after")
    def _readable(self):
        if not self.file.endswith((*TABLES, ".nii", ".nii.gz")):
            raise ValueError(
                f"file is {self.file!r}: an image (.nii, .nii.gz) or a table (.tsv, .csv) "
                "expected; a surface does not say to which region of a volume a point belongs"
            )
        if self.is_table or not self.se:
            return self
        raise ValueError("se is a column of a table, and file is an image")


class Equivalence(_Strict):
    """Change that counts as none, by region: at most ``percent`` of the volume before treatment."""

    percent: PositiveFloat


class Model(_Strict):
    """What clinical models adjust for beside baseline; strata enter those of the images, too."""

    factors: list[str] = []
    covariates: list[str] = []
    strata: bool = True


class Rule(_Strict):
    """What stands for the scores after an intercurrent event: `ESTIMAND_RULES`."""

    composite: Literal["worst", "baseline"] | float | None = None
    while_on_treatment: Literal["last"] | None = None


ESTIMAND_RULES = {
    "composite": "{composite: worst}, {composite: baseline} or {composite: 30}, a score",
    "while_on_treatment": "{while_on_treatment: last}, the last score on treatment",
}


def _strategy(value):
    """A strategy that needs no rule, or one with its rule."""
    if value in ("treatment_policy", "hypothetical"):
        return value
    if isinstance(value, str) and value in ESTIMAND_RULES:
        raise ValueError(f"{value} needs a rule: {ESTIMAND_RULES[value]}")
    rule = Rule.model_validate(value) if isinstance(value, dict) else Rule()
    if len(rule.model_dump(exclude_none=True)) != 1:
        rules = "; ".join(ESTIMAND_RULES.values())
        raise ValueError(f"treatment_policy, hypothetical, or a rule expected: {rules}")
    return rule.model_dump(exclude_none=True)


class Registered(_Strict):
    """The primary outcome of the trial's registration."""

    outcome: str
    visit: Word | None = None
    registry: str | None = None


class LocalMap(_Strict):
    """A receptor map of one's own: a NIfTI file in MNI152 space.

    ``file`` is relative to the study file. Without ``n_subjects`` the map cannot be weighted
    against another of the same receptor.
    """

    receptor: Annotated[str, Field(min_length=1)]
    file: str
    tracer: str | None = None
    n_subjects: PositiveInt | None = None
    age: Annotated[str, Field(coerce_numbers_to_str=True)] | None = None
    reference: str | None = None
    licence: str | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None

    @model_validator(mode="after")
    def _nifti(self):
        if not self.file.endswith((".nii", ".nii.gz")):
            raise ValueError(
                f"file of {self.receptor} is {self.file!r}: a NIfTI file (.nii, .nii.gz) expected; "
                "a map on the surface cannot be averaged over regions of a volume"
            )
        return self

    @property
    def annotation(self) -> str:
        """Name in tables of results: "local/" and the file's name without its suffix."""
        return f"local/{Path(self.file).name.removesuffix('.gz').removesuffix('.nii')}"


# The tags choose one alternative, so that an error speaks of that one alone; they are not shown.
_TAGS = ("(name)", "(file)", "(list)")
ReceptorEntry = Annotated[
    Annotated[str, Tag("(name)")] | Annotated[LocalMap, Tag("(file)")],
    Discriminator(lambda value: "(file)" if isinstance(value, (dict, LocalMap)) else "(name)"),
]
Receptors = Annotated[
    Annotated[str, Tag("(name)")] | Annotated[list[ReceptorEntry], Tag("(list)")],
    Discriminator(lambda value: "(name)" if isinstance(value, str) else "(list)"),
]


class Study(OnDisk, _Strict):
    """A trial, as its YAML file describes it. Made by :func:`load_study`."""

    name: Name
    title: Annotated[str, Field(pattern=r"^[^\r\n]+$", max_length=300)]
    data: str
    simulated: bool = False
    public: bool = False
    declared: dict[str, list[Word]] = {}
    arms: Arms | None  # None: "none" in the file, a study without a control arm
    visits: dict[Label, Annotated[float, Field(le=5200)]]  # weeks
    windows: dict[Label, tuple[float, float]] = {}
    primary_visit: Word | None = None
    other_sessions: list[Word] = []
    strata: list[str] = []
    exclude: dict[str, Any] = {}
    not_randomised: dict[str, Any] = {}
    estimand: dict[str, Annotated[str | dict, BeforeValidator(_strategy)]] = {}
    registered: Registered | None = None
    scales: list[Scale]
    covariates: list[str] = []
    model: Model = Model()
    imaging: Imaging | None = None
    effect: Effect | None = None
    atlas: str | dict[str, str] = "neuromorphometrics"  # files: absolute paths
    regions: list[str] = list(FRONTAL_LIMBIC)
    region_sets: dict[Name, Annotated[list[str], Field(min_length=1)]] = {}
    equivalence: Equivalence | None = None
    receptors: Receptors = "default"
    accept: list[Literal[tuple(WARNINGS)]] = []
    outside: bool = False  # whether files outside the study's own folders are meant

    _path: Path = PrivateAttr()
    _place: Place = PrivateAttr(default_factory=Place.of)
    _names: dict = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, content):
        return _spelled_out(content) if isinstance(content, dict) else content

    @field_validator("atlas", mode="before")
    @classmethod
    def _atlas_found(cls, value, info: ValidationInfo):
        return _locate_atlas(value, (info.context or {}).get("folder", Path()))

    @model_validator(mode="after")
    def _consistent(self):
        if problems := inconsistencies(self):
            raise ValueError("; ".join(problems))
        return self

    @property
    def baseline(self) -> str:
        """The first visit."""
        return next(iter(self.visits))

    @property
    def post_visits(self) -> list[str]:
        """Visits after baseline, in order."""
        return list(self.visits)[1:]

    @property
    def final_visit(self) -> str:
        """The visit of the primary contrast."""
        return self.primary_visit or self.post_visits[-1]

    @property
    def primary_scale(self) -> Scale:
        """The scale of the primary outcome."""
        return next(scale for scale in self.scales if scale.primary)

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The contrasts of change that the study can answer, the main one last."""
        if self.effect:
            return (EFFECT,)
        return OF_CHANGE if self.arms else (CHANGE,)

    @property
    def main(self) -> str:
        """The contrast that the study was made for: of two arms, their difference."""
        return self.contrasts[-1]

    def titled(self, contrast) -> str:
        """A contrast above a table or picture, in the study's words for the arms."""
        return contrast_title(contrast, self.arm_names)

    @property
    def has_change(self) -> bool:
        """Whether there is anything to compare with receptor maps: images, a table, one map."""
        return self.imaging is not None or self.effect is not None

    @property
    def own_regions(self) -> list[str]:
        """Regions of interest; by default none of a table, which may have other names."""
        given = "regions" in self.model_fields_set or not self.regional
        return self.regions if given else []

    @property
    def regional(self) -> bool:
        """Whether change is given by region, in a table, and there are no maps."""
        return self.imaging is not None and self.imaging.table is not None

    @property
    def differs_from_registered(self) -> bool:
        """Whether the registered primary outcome is another one than this file's."""
        given, own = self.registered, (self.primary_scale.key, self.final_visit)
        if given is None:
            return False
        return (_key(given.outcome), given.visit or self.final_visit) != own

    @property
    def arm_names(self) -> dict[str, str]:
        """The study's own word for each arm, for text and figures."""
        if not self.arms:
            return {"active": "all", "control": "none"}
        return {
            "active": self.arms.active_name or self.arms.active,
            "control": self.arms.control_name or self.arms.control,
        }

    @property
    def model_factors(self) -> list[str]:
        """Columns of participants.tsv that are factors of the clinical models."""
        strata = self.strata if self.model.strata else []
        return list(dict.fromkeys([*strata, *self.model.factors]))

    @property
    def numeric_columns(self) -> list[str]:
        """Columns of participants.tsv that are covariates of any model."""
        return list(dict.fromkeys([*self.covariates, *self.model.covariates]))

    @property
    def held_columns(self) -> list[str]:
        """Columns of participants.tsv that any model adjusts for, or randomisation depends on."""
        return list(dict.fromkeys([*self.numeric_columns, *self.strata, *self.model.factors]))

    @property
    def adjusted_for(self) -> list[str]:
        """What the clinical models adjust for beside baseline: factors, then covariates."""
        return list(dict.fromkeys([*self.model_factors, *self.model.covariates]))

    @property
    def label(self) -> str:
        """SIMULATED, IDENTIFIABLE, or nothing: to be shown wherever a number or a picture is."""
        named = "IDENTIFIABLE" if self.real and self._place.identifiable else ""
        return "SIMULATED" if self.simulated else named


def _spelled_out(content):
    """A study file with what it may leave out where it has no arms, no images or no people."""
    if content.get("arms", "") is None:
        raise ValueError("arms: two arms, or the word none, expected, found nothing")
    content = content | ({"arms": None} if content.get("arms") == "none" else {})
    if "effect" in content:
        return {"data": ".", "arms": None, "visits": {}, "scales": []} | content
    imaging, visits = content.get("imaging"), content.get("visits")
    if isinstance(imaging, dict) and imaging.get("table") and isinstance(visits, dict) and visits:
        names = list(visits)
        ends = {"pre": names[0], "post": content.get("primary_visit", names[-1])}
        imaging = {"sessions": ends} | imaging
        if "atlas" in imaging:
            content["atlas"] = imaging.pop("atlas")
        content["imaging"] = imaging
    return content


def _locate_atlas(atlas, folder):
    """Leave a known name as it is; make paths, relative to the study file, absolute."""
    if isinstance(atlas, str) and atlas in ATLASES:
        return atlas
    files = {"image": atlas} if isinstance(atlas, str) else atlas
    is_mapping = isinstance(files, dict) and {"image"} <= set(files) <= {"image", "table"}
    if not is_mapping or not all(isinstance(file, str) for file in files.values()):
        raise ValueError(
            "a name, the path of a label image, or {image: path, table: path} expected, "
            f"found {atlas!r}"
        )
    paths = {key: str((folder / file).resolve()) for key, file in files.items()}
    for key, path in paths.items():
        if Path(path).is_file():
            continue
        if isinstance(atlas, dict):
            raise ValueError(f"no {key} file at {path}; correct the path")
        near = difflib.get_close_matches(atlas, ATLASES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known names: {', '.join(ATLASES)}"
        raise ValueError(f"no known name, and no file at {path}; {hint}")
    return paths["image"] if isinstance(atlas, str) else paths


def find_study(study) -> Path:
    """Path of a study file, from a path or the name of one in data/studies."""
    path = Path(study)
    if path.suffix not in {".yml", ".yaml"}:
        path = STUDIES / f"{study}.yml"
    with refusals(path):
        there = path.is_file()
    if not there:
        known = ", ".join(sorted(p.stem for p in STUDIES.glob("*.yml")))
        remedy = f"Give the path of a study file, or one of: {known}"
        raise StudyError(Problem(str(study), text="no such study", remedy=remedy))
    return path.resolve()


def load_study(study="demo", output=None, dask=None, variant="", identifiable=None) -> Study:
    """Read a study file, from its path or its name in ``data/studies``, and check it.

    ``output`` is the folder for ``data/derived`` and ``figures``, by default $COMPENDIUM_OUTPUT or
    the project; ``dask`` the address of a scheduler, by default $COMPENDIUM_DASK;
    ``identifiable`` whether outputs may name real participants, by default whether
    $COMPENDIUM_IDENTIFIABLE is set. The environment is read here and nowhere else: what is set
    later does not move the results of a study that is open. An empty ``variant`` stands for the
    default results. A `StudyError` has every problem of the file: unknown or missing keys, values
    of the wrong type, visits or scales that do not fit together.
    """
    path = find_study(study)
    content = _read_yaml(path)
    try:
        with refusals():
            loaded = Study.model_validate(content, context={"folder": path.parent})
    except ValidationError as error:
        raise StudyError(_explain(path, e) for e in error.errors()) from None
    loaded._path, loaded._place = path, Place.of(output, dask, variant, identifiable)
    with refusals():
        refuse_outside(loaded)
    return loaded


def _read_yaml(path):
    text = read_text(path, "a study file in UTF-8")
    try:
        content = parse_yaml(text)
    except ValueError as error:
        hint = "Indent with spaces, not with tabs" if "'\\t'" in str(error) else ""
        raise StudyError(Problem(path.name, text=f"not valid YAML: {error}", remedy=hint)) from None
    if not isinstance(content, dict):
        raise StudyError(Problem(path.name, "", "keys and values", type(content).__name__))
    return content


def _explain(path, error):
    """The problem that one pydantic error tells, in the words of a study file."""
    place = [part for part in error["loc"] if part not in _TAGS]
    where = ".".join(str(part) for part in place)
    if error["type"] == "extra_forbidden":
        return Problem(path.name, text=f"unknown key '{where}'", remedy=_suggest(place))
    if error["type"] == "missing":
        return Problem(path.name, text=f"key '{where}' is missing")
    message = error["msg"].removeprefix("Value error, ")
    found = "" if error["type"] == "value_error" else f", found {error['input']!r:.200}"
    return Problem(path.name, where, text=f"{message}{found}")


def _suggest(location):
    models = {"arms": Arms, "scales": Scale, "imaging": Imaging, "sessions": Sessions}
    models |= {"effect": Effect, "receptors": LocalMap, "model": Model}
    models |= {"registered": Registered, "response": Response}
    parents = [part for part in location[:-1] if isinstance(part, str)]
    fields = list((models[parents[-1]] if parents else Study).model_fields)
    near = difflib.get_close_matches(str(location[-1]), fields, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(fields)}"
