"""MMRM: against SAS, R, least squares, statsmodels, repeated-measures ANOVA, finite differences."""

import re

import numpy as np
import pandas as pd
import pingouin as pg
import pytest
import statsmodels.formula.api as smf
from scipy import special, stats

from analysis_lib import mmrm
from analysis_lib.outcomes import hedges_correction

FORMULA = "change ~ baseline*visit + arm*visit"
KEYS = {"subject": "id", "visit": "visit"}

# SAS PROC MIXED, FEV1 = ARMCD, ddfm=kenwardroger: TRT - PBO, its standard error, df (the files
# kr_*.csv in design/KR and design/ddfm_covtype of openpharma/mmrm), and -2 residual log-likelihood
# where a listing there has it (design/KR/kr_*.txt).
SAS_FEV = {
    "us": (3.81972492174648, 0.66124382270307, 160.733266403768, 3667.96276376),
    "toeph": (3.92287746213894, 0.72543828853831, 180.062730071701, None),
    "toep": (4.47051860580552, 0.87839805519623, 160.027408337368, None),
    "csh": (3.77090812499029, 0.67414806011886, 190.737701349941, 3754.18491472),
    "cs": (4.19663617897035, 0.7964696053595, 177.038485931223, None),
    "ar1h": (3.72674356244499, 0.7590316099633, 188.225339095373, 3715.28043805),
    "ar1": (4.22574315817874, 0.95865439662225, 188.46934887972, 3855.12433951),
}


def trial(n=18, n_visits=3, seed=0, missing=0.0, correlation=0.6, effect=-2.0):
    """A two-arm trial in long form; the correlation falls with the distance of visits."""
    rng = np.random.default_rng(seed)
    sd = 3 + 0.5 * np.arange(n_visits)
    covariance = correlation ** mmrm._lags(n_visits) * np.outer(sd, sd)
    arm = np.repeat(["active", "control"], n)
    baseline = rng.normal(25, 4, 2 * n)
    y = rng.multivariate_normal(np.zeros(n_visits), covariance, 2 * n) - 2 * np.arange(n_visits)
    y += 0.3 * (baseline[:, None] - 25) + effect * (arm == "active")[:, None]
    wide = pd.DataFrame(y, columns=[f"week{v + 1}" for v in range(n_visits)])
    wide = wide.assign(id=[f"p{i:02d}" for i in range(2 * n)], arm=arm, baseline=baseline)
    long = wide.melt(["id", "arm", "baseline"], var_name="visit", value_name="change")
    long["arm"] = pd.Categorical(long["arm"], ["control", "active"])
    long["change"] = long["change"].mask(rng.random(len(long)) < missing)
    return long


@pytest.fixture(scope="module")
def fev(reference_data):
    table = pd.read_csv(reference_data / "data/trials/fev/fev_data.csv")
    races = ["Asian", "Black or African American", "White"]  # R's reference levels come first
    return table.assign(
        ARMCD=pd.Categorical(table["ARMCD"], ["PBO", "TRT"]),
        RACE=pd.Categorical(table["RACE"], races),
        SEX=pd.Categorical(table["SEX"], ["Male", "Female"]),
    )


@pytest.fixture(scope="module")
def depression(reference_data):
    table = pd.read_csv(reference_data / "data/trials/antidepressant/antidepressant_data.csv")
    return table.assign(THERAPY=pd.Categorical(table["THERAPY"], ["PLACEBO", "DRUG"]))


@pytest.fixture(scope="module")
def depression_fit(depression):
    formula = "CHANGE ~ BASVAL*VISIT + THERAPY*VISIT"
    return mmrm.fit_mmrm(depression, formula, subject="PATIENT", visit="VISIT")


def fit_fev(fev, formula="FEV1 ~ ARMCD", **options):
    return mmrm.fit_mmrm(fev, formula, subject="USUBJID", visit="AVISIT", **options)


# What R's mmrm prints for FEV1 ~ RACE + SEX + ARMCD * AVISIT (README.md of openpharma/mmrm):
# coefficients in the order of its model, and its covariance estimate, lower triangle by rows.
R_FEV = [30.77747548, 1.53049977, 5.64356535, 0.32606192, 3.77423004, 4.83958845, 10.34211288,
         15.05389826, -0.04192625, -0.69368537, 0.62422703]  # fmt: skip
R_FEV_COVARIANCE = [40.5537, 14.3960, 26.5715, 4.9747, 2.7855, 14.8979, 13.3867, 7.4745, 0.9082,
                    95.5568]  # fmt: skip


def at_covariance(fit, covariance):
    """The unstructured model with its inference at a given covariance matrix."""
    working = covariance / fit._likelihood.scale**2
    state = fit._likelihood.differentiate(working)
    natural = mmrm.STRUCTURES["us"].natural(working)
    slope, hessian = fit._likelihood.chain(state, natural)
    weights = 2 * np.linalg.inv(hessian)
    options = (0, fit.formula, "us", fit.df_method)
    parts = (fit._design, fit._likelihood, state, working, natural, weights)
    return mmrm.MMRM(*parts, *options), slope, hessian


# --- R and SAS


def test_fev_is_what_r_prints(fev, reference_data):
    fit = fit_fev(fev, "FEV1 ~ RACE + SEX + ARMCD*AVISIT", df="satterthwaite")
    path = reference_data / "reference/clinical/mmrm_fev_satterthwaite.tsv"
    r = pd.read_csv(path, sep="\t")
    names = [re.sub(r"\[(?!T\.)", "[T.", term.strip("()")) for term in r["term"]]
    ours = fit.coefficients.loc[names]
    assert fit.deviance == pytest.approx(3386.45, abs=0.005)
    # R's optimiser ("rel_reduction_of_f") stops up to 2e-4 of a standard error from the maximum
    np.testing.assert_allclose(ours["estimate"], r["estimate"], atol=2e-4)
    np.testing.assert_array_less(np.abs(ours["estimate"] - r["estimate"].array) / ours["se"], 2e-4)
    np.testing.assert_allclose(ours["se"], r["se"], rtol=1e-4)
    np.testing.assert_allclose(ours["df"], r["df"], atol=0.1)
    np.testing.assert_allclose(ours["t"], r["t"], rtol=1e-4, atol=5e-4)


def rows_of(fit, start):
    """One row of weights for each term that starts so."""
    return np.eye(len(fit.terms))[[term.startswith(start) for term in fit.terms]]


def test_joint_tests_have_the_f_and_df_of_r(fev):
    """df_md and Anova in vignettes/introduction of openpharma/mmrm."""
    formula = "FEV1 ~ RACE + SEX + ARMCD*AVISIT"
    fit = fit_fev(fev, formula, df="satterthwaite")
    race, interaction = fit.test(rows_of(fit, "RACE")), fit.test(rows_of(fit, "ARMCD[T.TRT]:"))
    assert (race["F"], race["den_df"]) == pytest.approx((36.91143, 165.5553), rel=1e-4)
    assert (interaction["F"], interaction["den_df"]) == pytest.approx((0.2581, 147.91), rel=5e-4)
    kenward = fit_fev(fev, formula)
    test = kenward.test(rows_of(kenward, "RACE"))
    # R adjusts the covariance in parameters of its optimiser, so that only the df is the same
    assert test["den_df"] == pytest.approx(165.5728, rel=1e-4)
    assert test["F"] < race["F"]


def test_means_and_contrasts_are_those_of_emmeans(fev):
    """emmeans(fit, ~ ARMCD | AVISIT) and its pairs in vignettes/introduction, as printed there."""
    fit = fit_fev(fev, "FEV1 ~ RACE + SEX + ARMCD*AVISIT", df="satterthwaite")
    means = fit.means("ARMCD", "AVISIT")
    assert means["mean"].round(1).tolist() == [33.3, 38.2, 43.7, 48.4, 37.1, 41.9, 46.8, 52.8]
    expected = [0.755, 0.612, 0.462, 1.19, 0.763, 0.602, 0.509, 1.19]
    np.testing.assert_allclose(means["se"], expected, rtol=2e-3)
    assert means["df"].round().tolist() == [148, 147, 130, 134, 143, 143, 130, 133]
    pairs = fit.contrasts("ARMCD", "PBO")
    assert pairs["estimate"].round(2).tolist() == [3.77, 3.73, 3.08, 4.40]
    assert pairs["t"].round(3).tolist() == [3.514, 4.346, 4.467, 2.617]
    assert pairs["df"].round().tolist() == [146, 145, 131, 133]
    assert pairs["ci_high"].round(2).tolist() == [5.90, 5.43, 4.44, 7.72]


def test_at_the_covariance_of_r_every_digit_is_r(fev, reference_data):
    fit = fit_fev(fev, "FEV1 ~ RACE + SEX + ARMCD*AVISIT", df="satterthwaite")
    covariance = np.zeros((4, 4))
    covariance[np.tril_indices(4)] = R_FEV_COVARIANCE
    theirs = at_covariance(fit, covariance + np.tril(covariance, -1).T)[0]
    path = reference_data / "reference/clinical/mmrm_fev_satterthwaite.tsv"
    r = pd.read_csv(path, sep="\t")
    np.testing.assert_allclose(theirs.coefficients["estimate"], R_FEV, atol=1e-5)
    np.testing.assert_allclose(theirs.coefficients["se"], r["se"], atol=1.1e-5)
    np.testing.assert_allclose(theirs.coefficients["df"], r["df"], atol=0.02)
    assert fit.deviance < theirs.deviance < fit.deviance + 1e-4


@pytest.mark.parametrize("structure", SAS_FEV)
def test_kenward_roger_is_sas_for_every_structure(fev, structure):
    fit = fit_fev(fev, covariance=structure)
    estimate, se, df, deviance = SAS_FEV[structure]
    ours = fit.coefficients.loc["ARMCD[T.TRT]"]
    assert ours["estimate"] == pytest.approx(estimate, rel=3e-5)
    assert ours["se"] == pytest.approx(se, rel=2e-4)
    assert ours["df"] == pytest.approx(df, rel=5e-4)
    if deviance:  # never above SAS's, which stops a little before the maximum
        assert -2e-5 < fit.deviance - deviance < 1e-7


def test_unstructured_kenward_roger_is_the_reference_file(fev, reference_data):
    sas = pd.read_csv(reference_data / "reference/clinical/sas_kenward_roger_fev_us.csv").iloc[0]
    row = fit_fev(fev).contrasts("ARMCD", "PBO", by=None).iloc[0]
    assert row["estimate"] == pytest.approx(sas["Estimate"], rel=1e-5)
    for ours, theirs in {"se": "StdErr", "df": "DF", "t": "tValue"}.items():
        assert row[ours] == pytest.approx(sas[theirs], rel=1e-3)
    assert row["contrast"] == "TRT - PBO"


def minimum_norm_start(fit, natural):
    """MIVQUE0, where PROC MIXED starts: sum_l tr(P E_k P E_l) theta_l = y' P E_k P y, V = I."""
    x, y, rows = fit._design.x.to_numpy(float), fit._design.y, fit._design.rows
    project = np.eye(len(y)) - x @ np.linalg.pinv(x)
    seen = rows[:, :, None], rows[:, None, :]
    both = (seen[0] >= 0) & (seen[1] >= 0)
    left, right = (np.broadcast_to(s, both.shape)[both] for s in seen)
    parts = []
    for k in range(natural.first.shape[-1]):
        part = np.zeros((len(y), len(y)))
        part[left, right] = np.broadcast_to(natural.first[..., k], both.shape)[both]
        parts.append(project @ part)
    system = np.array([[(a * b.T).sum() for b in parts] for a in parts])
    return np.linalg.solve(system, [y @ part @ project @ y for part in parts])


def test_the_iterations_of_sas_give_the_digits_of_sas(fev):
    """Newton's method in SAS's parameters from MIVQUE0, stopped by SAS's criterion (1e-8)."""
    fit = fit_fev(fev)
    theta, history = minimum_norm_start(fit, fit._natural), []
    for _ in range(10):
        sas, slope, hessian = at_covariance(fit, fit._natural.first @ theta)
        history.append(sas.deviance)
        step = np.linalg.solve(hessian, slope)
        if slope @ step / sas.deviance < 1e-8:
            break
        theta = theta - step * fit._likelihood.scale**2
    assert history[1:] == pytest.approx([3668.64862630, 3667.97607884, 3667.96276376], abs=6e-9)
    ours = sas.coefficients.loc["ARMCD[T.TRT]", ["estimate", "se", "df"]].astype(float)
    np.testing.assert_allclose(ours, SAS_FEV["us"][:3], rtol=2e-9)
    assert fit.deviance < sas.deviance  # ours goes on to the maximum


def test_means_are_the_lsmeans_of_sas(fev):
    """design/KR/kr_ar1.txt of openpharma/mmrm."""
    means = fit_fev(fev, covariance="ar1").means("ARMCD", visit=None).set_index("arm")
    columns = ["mean", "se", "ci_low", "ci_high"]
    expected = {
        "TRT": [44.5139, 0.6904, 43.1518, 45.8760],
        "PBO": [40.2881, 0.6651, 38.9763, 41.5999],
    }
    for arm, values in expected.items():
        np.testing.assert_allclose(means.loc[arm, columns].astype(float), values, atol=6e-5)
    assert means["df"].round().to_dict() == {"TRT": 183, "PBO": 194}


def test_antidepressant_is_gls_with_emmeans(depression, depression_fit, reference_data):
    path = reference_data / "reference/clinical/mmrm_antidepressant_hamd17.tsv"
    r = pd.read_csv(path, sep="\t")
    formula = depression_fit.formula
    keys = {"subject": "PATIENT", "visit": "VISIT"}
    fit = mmrm.fit_mmrm(depression, formula, df="satterthwaite", **keys)
    ours = fit.contrasts(arm="THERAPY", reference="PLACEBO", by="VISIT")
    assert fit.loglik == pytest.approx(-1747.101425, abs=1e-6)
    assert ours["visit"].tolist() == r["visit"].tolist()
    assert ours["contrast"].tolist() == r["contrast"].tolist()
    np.testing.assert_allclose(ours["estimate"], r["estimate"], atol=2e-6)
    np.testing.assert_allclose(ours["se"], r["se"], atol=5e-6)
    # emmeans approximates the df from few simulated matrices; ours are exact derivatives
    np.testing.assert_allclose(ours["df"], r["df_satterthwaite"], rtol=0.01)
    np.testing.assert_allclose(ours["p"], r["p"], atol=1e-4)


def test_antidepressant_kenward_roger_is_sas(depression_fit, reference_data):
    sas = pd.read_csv(reference_data / "reference/clinical/antidepressant_sas.tsv", sep="\t")
    sas = sas[sas["analysis"].str.startswith("MMRM")]
    ours = depression_fit.contrasts("THERAPY", "PLACEBO")
    assert depression_fit.deviance == pytest.approx(3494.20285, abs=1e-5)
    np.testing.assert_allclose(ours["estimate"], sas["drug_minus_placebo"], atol=5.1e-5)
    np.testing.assert_allclose(ours["se"], sas["se"], atol=5.1e-5)
    assert ours["df"].round().tolist() == sas["df"].tolist()
    np.testing.assert_allclose(ours["p"], sas["p"], atol=5.1e-5)


@pytest.mark.parametrize("df", mmrm.DF_METHODS)
def test_sudmex_is_lmer_with_compound_symmetry(reference_data, df):
    table = pd.read_csv(reference_data / "data/trials/sudmex_tms/data2w.csv")
    expected = pd.read_csv(reference_data / "reference/clinical/sudmex_lmer.tsv", sep="\t")
    for outcome, rows in expected.groupby("outcome"):
        formula = f"{outcome} ~ stage*group + age + sex"
        keys = {"subject": "rid", "visit": "stage", "covariance": "cs", "df": df}
        ours = mmrm.fit_mmrm(table, formula, **keys).coefficients
        ours = ours.loc[rows["term"].str.replace("[", "[T.")]
        for column in ("estimate", "se", "df", "t", "p"):
            np.testing.assert_allclose(ours[column], rows[column], rtol=2e-6)


# --- closed forms


@pytest.mark.parametrize("df", mmrm.DF_METHODS)
def test_complete_data_saturated_is_least_squares_at_each_visit(df):
    data = trial(n_visits=4)
    fit = mmrm.fit_mmrm(data, "change ~ arm*visit", df=df, **KEYS)
    table, means = fit.contrasts("arm"), fit.means("arm").set_index(["arm", "visit"])
    for row in table.itertuples():
        own = data[data["visit"] == row.visit]
        ols = smf.ols("change ~ arm", own).fit()
        assert row.estimate == pytest.approx(ols.params["arm[T.active]"], rel=1e-9)
        assert row.se == pytest.approx(ols.bse["arm[T.active]"], rel=1e-9)
        assert (row.df, row.p) == pytest.approx((34, ols.pvalues["arm[T.active]"]), rel=1e-9)
        assert fit._sd(row.visit) == pytest.approx(np.sqrt(ols.mse_resid), rel=1e-9)
        active = own.loc[own["arm"] == "active", "change"]
        assert means.loc[("active", row.visit), "mean"] == pytest.approx(active.mean())


@pytest.mark.parametrize("structure", mmrm.STRUCTURES)
def test_one_visit_is_analysis_of_covariance(structure):
    data = trial(n_visits=1)
    fit = mmrm.fit_mmrm(data, FORMULA, covariance=structure, **KEYS)
    ols = smf.ols("change ~ baseline + arm", data).fit()
    row = fit.contrasts("arm").iloc[0]
    expected = [ols.params["arm[T.active]"], ols.bse["arm[T.active]"], 33.0]
    np.testing.assert_allclose(row[["estimate", "se", "df"]].astype(float), expected, rtol=1e-9)
    assert fit.n_parameters == 1


def test_joint_test_of_balanced_compound_symmetry_is_the_repeated_measures_anova():
    data = trial(n_visits=4, effect=-1)
    fit = mmrm.fit_mmrm(data, "change ~ arm*visit", covariance="cs", **KEYS)
    columns = {"id": "subject", "change": "dv", "visit": "within", "arm": "between"}
    named = data.assign(arm=data["arm"].astype(str)).rename(columns=columns)
    anova = pg.mixed_anova(named, **{name: name for name in columns.values()})
    interaction = anova.set_index("Source").loc["Interaction"]
    rows = np.eye(len(fit.terms))[fit.terms.str.contains(":")]
    test = fit.test(rows)
    assert test["num_df"] == interaction["DF1"] == 3
    assert test["den_df"] == pytest.approx(interaction["DF2"], rel=1e-8)  # 3 x 34
    assert test["F"] == pytest.approx(interaction["F"], rel=1e-8)
    assert test["p"] == pytest.approx(interaction["p_unc"], rel=1e-7)


def test_joint_test_of_complete_unstructured_data_is_hotelling():
    data = trial(n_visits=3, effect=-1)
    fit = mmrm.fit_mmrm(data, "change ~ 0 + visit + arm:visit", **KEYS)
    wide = data.pivot(index=["id", "arm"], columns="visit", values="change")
    active, control = (wide.xs(arm, level="arm") for arm in ("active", "control"))
    difference = active.mean() - control.mean()
    pooled = (active.cov() + control.cov()) / 2 * (2 / 18)
    t2 = difference @ np.linalg.solve(pooled, difference)
    rows = np.stack([r - c for r, c in _halves(fit._grid("arm", ["active", "control"], True)[1])])
    test = fit.test(rows)
    # Kenward & Roger (1997, section 4): F and df are exact for Hotelling's T2
    assert test["F"] == pytest.approx((34 - 3 + 1) / (34 * 3) * t2, rel=1e-6)
    assert test["den_df"] == pytest.approx(34 - 3 + 1, rel=1e-6)


def _halves(rows):
    return zip(rows[: len(rows) // 2], rows[len(rows) // 2 :], strict=True)


def test_one_row_of_the_joint_test_is_the_t_test_squared():
    for df in mmrm.DF_METHODS:
        fit = mmrm.fit_mmrm(trial(missing=0.15, seed=2), FORMULA, df=df, **KEYS)
        row = np.eye(len(fit.terms))[-1]
        test, single = fit.test(row), fit.estimates(row).iloc[0]
        assert test["F"] == pytest.approx(single["t"] ** 2)
        assert (test["den_df"], test["p"]) == pytest.approx((single["df"], single["p"]))


def test_kenward_roger_formula_for_many_rows_has_the_limit_of_one_row():
    df, scale = mmrm._kr_scale(1, 0.05, 0.05)
    assert (df, scale) == pytest.approx((40, 1))
    assert mmrm._kr_scale(3, 1e-9, 1e-9)[1] == pytest.approx(1)


# --- other implementations


@pytest.mark.parametrize("reml", [True, False])
def test_compound_symmetry_is_the_random_intercept_model_of_statsmodels(reml):
    data = trial(n=30, n_visits=4, seed=4, missing=0.1, correlation=0.8).dropna()
    fit = mmrm.fit_mmrm(data, FORMULA, covariance="cs", df="satterthwaite", reml=reml, **KEYS)
    mixed = smf.mixedlm(FORMULA, data, groups="id").fit(reml=reml, method="lbfgs")
    assert fit.loglik == pytest.approx(mixed.llf, abs=1e-5)
    np.testing.assert_allclose(
        fit.coefficients["estimate"], mixed.fe_params[fit.terms], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(fit.coefficients["se"], mixed.bse_fe[fit.terms], rtol=1e-3)


def participant_by_participant(fit, covariance):
    """-2 REML log-likelihood by a plain loop."""
    x, y = fit._design.x.to_numpy(float), fit._design.y
    logs, xx, xy, yy = 0.0, 0.0, 0.0, 0.0
    for rows in fit._design.rows:
        own = rows >= 0
        inverse = np.linalg.inv(covariance[np.ix_(own, own)])
        xi, yi = x[rows[own]], y[rows[own]]
        logs -= np.linalg.slogdet(inverse)[1]
        xx, xy, yy = xx + xi.T @ inverse @ xi, xy + xi.T @ inverse @ yi, yy + yi @ inverse @ yi
    rss = yy - xy @ np.linalg.solve(xx, xy)
    return logs + np.linalg.slogdet(xx)[1] + rss + (len(y) - x.shape[1]) * np.log(2 * np.pi)


def test_likelihood_by_pattern_is_the_likelihood_by_participant():
    fit = mmrm.fit_mmrm(trial(missing=0.2, seed=7), FORMULA, **KEYS)
    estimate = fit.covariance.to_numpy()
    assert len(fit._likelihood.patterns) > 3
    assert fit.deviance == pytest.approx(participant_by_participant(fit, estimate), abs=1e-8)
    for a, b in [(0, 0), (0, 1), (1, 2), (2, 2)]:  # and it is a maximum
        for shift in (-0.1, 0.1):
            other = estimate.copy()
            other[[a, b], [b, a]] += shift
            assert participant_by_participant(fit, other) > fit.deviance


# --- derivatives, structures


def derivative(function, at, step=1e-5):
    moves = step * np.eye(len(at))
    return np.stack([(function(at + m) - function(at - m)) / (2 * step) for m in moves], axis=-1)


@pytest.mark.parametrize("n_visits", [2, 4])
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("structure", mmrm.STRUCTURES)
def test_gradient_and_hessian_are_those_of_finite_differences(structure, reml, n_visits):
    data = trial(n_visits=n_visits, missing=0.1, seed=1)
    fit = mmrm.fit_mmrm(data, FORMULA, df="satterthwaite", reml=reml, covariance="cs", **KEYS)
    likelihood, shape = fit._likelihood, mmrm.STRUCTURES[structure]
    at = shape.start(np.linspace(0.8, 1.2, n_visits), 0.4)
    at = at + 0.1 * np.random.default_rng(5).standard_normal(len(at))

    def slope(phi):
        covariance = shape.free(phi, n_visits)
        return likelihood.chain(likelihood.differentiate(covariance.value), covariance)

    def value(phi):
        return likelihood.solve(shape.free(phi, n_visits).value).deviance

    gradient, hessian = slope(at)
    assert len(at) == shape.n_parameters(n_visits)
    np.testing.assert_allclose(gradient, derivative(value, at), atol=1e-6 * np.abs(gradient).max())
    numerical = derivative(lambda phi: slope(phi)[0], at)
    np.testing.assert_allclose(hessian, numerical, atol=1e-7 * np.abs(hessian).max())


@pytest.mark.parametrize("structure", mmrm.STRUCTURES)
def test_sas_parameters_give_the_same_matrix_and_the_same_inference(structure):
    """The optimiser and SAS: one matrix, and the derivatives in parameters of SAS are right."""
    data = trial(n_visits=4, missing=0.1, seed=3)
    fit = mmrm.fit_mmrm(data, FORMULA, covariance=structure, **KEYS)
    shape, natural = mmrm.STRUCTURES[structure], fit._natural
    np.testing.assert_allclose(natural.value, fit._working, rtol=1e-12)
    assert np.linalg.matrix_rank(natural.first.reshape(16, -1)) == fit.n_parameters
    gradient, _ = fit._likelihood.chain(fit._state, natural)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    assert shape.linear == (not natural.second.any())
    for k in range(fit.n_parameters):  # along a step in one parameter of SAS's
        h = 1e-4 * np.sqrt(natural.value[0, 0])
        moved = natural.value + h * natural.first[..., k] + h**2 / 2 * natural.second[..., k, k]
        again = shape.natural(moved).value
        np.testing.assert_allclose(again, moved, atol=1e-3 * h**2)


@pytest.mark.parametrize("seed", range(3))
def test_nested_structures_have_ordered_likelihoods(seed):
    data = trial(n_visits=4, missing=0.1, seed=seed)
    loglik = {c: mmrm.fit_mmrm(data, FORMULA, covariance=c, **KEYS).loglik for c in mmrm.STRUCTURES}
    larger = ["us", "toeph", "toeph", "toeph", "toep", "toep", "csh", "ar1h"]
    smaller = ["toeph", "toep", "csh", "ar1h", "cs", "ar1", "cs", "ar1"]
    for big, small in zip(larger, smaller, strict=True):
        assert loglik[big] > loglik[small]


@pytest.mark.parametrize("group", [("toep", "cs", "ar1"), ("us", "toeph", "csh", "ar1h")])
def test_structures_that_are_the_same_for_two_visits_give_the_same(group):
    data = trial(n_visits=2, missing=0.15, seed=8)
    fits = [mmrm.fit_mmrm(data, FORMULA, covariance=c, **KEYS) for c in group]
    for fit in fits[1:]:
        assert fit.loglik == pytest.approx(fits[0].loglik, abs=1e-9)
        np.testing.assert_allclose(fit.covariance, fits[0].covariance, rtol=1e-6)
        np.testing.assert_allclose(fit.coefficients["df"], fits[0].coefficients["df"], rtol=1e-6)


@pytest.mark.parametrize("structure", ["toep", "ar1"])
def test_a_simpler_structure_finds_the_covariance_that_made_the_data(structure):
    data = trial(n=4000, n_visits=4, seed=11)
    sd = data["visit"].str[-1].astype(int).map(lambda v: 3 + 0.5 * (v - 1))
    centre = data.groupby(["visit", "arm"], observed=True)["change"].transform("mean")
    data["change"] = (data["change"] - centre - 0.3 * (data["baseline"] - 25)) / sd
    covariance = mmrm.fit_mmrm(data, "change ~ visit", covariance=structure, **KEYS).covariance
    np.testing.assert_allclose(covariance, 0.6 ** mmrm._lags(4), atol=0.03)


def test_partial_autocorrelations_near_the_edge_give_a_positive_definite_matrix():
    for seed in range(20):
        partial = np.random.default_rng(seed).uniform(-0.99, 0.99, 7)
        r = mmrm._levinson(mmrm._Jet.parameters(partial)).value
        matrix = r[mmrm._lags(8)]
        assert np.linalg.eigvalsh(matrix)[0] > 0
        # the determinant of a Toeplitz matrix is prod (1 - partial_k^2)^(n - k)
        expected = np.prod((1 - partial**2) ** np.arange(7, 0, -1))
        assert np.linalg.det(matrix) == pytest.approx(expected, rel=1e-6)


def test_eight_visits_with_missing_ones():
    data = trial(n=40, n_visits=8, missing=0.05, seed=3)
    fit = mmrm.fit_mmrm(data, FORMULA, **KEYS)
    assert fit.n_parameters == 36
    assert fit.contrasts("arm")["visit"].tolist() == [f"week{v}" for v in range(1, 9)]
    assert fit.deviance == pytest.approx(
        participant_by_participant(fit, fit.covariance.to_numpy()), abs=1e-7
    )


# --- invariance


def test_nothing_depends_on_units_or_on_the_order_of_rows():
    data = trial(missing=0.15, seed=6)
    fit = mmrm.fit_mmrm(data, FORMULA, **KEYS)
    moved = data.assign(change=data["change"] * 1e-4 + 7, baseline=data["baseline"] * 1e3)
    other = mmrm.fit_mmrm(moved.sample(frac=1, random_state=1), FORMULA, **KEYS).contrasts("arm")
    ours = fit.contrasts("arm")
    np.testing.assert_allclose(other["estimate"], ours["estimate"] * 1e-4, rtol=1e-7)
    columns = ["df", "t", "p", "hedges_g", "g_ci_low", "g_ci_high"]
    np.testing.assert_allclose(other[columns], ours[columns], rtol=1e-6)


def test_the_input_is_left_alone():
    data = trial(missing=0.1)
    before = data.copy(deep=True)
    mmrm.fit_mmrm(data, FORMULA, **KEYS)
    pd.testing.assert_frame_equal(data, before)


# --- means, contrasts, effect sizes


def test_reference_level_is_the_first_category_else_the_first_in_order():
    data = trial()
    words = data.assign(arm=data["arm"].astype(str))
    own = mmrm.fit_mmrm(data, FORMULA, **KEYS).contrasts("arm")
    other = mmrm.fit_mmrm(words, FORMULA, **KEYS).contrasts("arm")
    assert set(own["contrast"]) == {"active - control"}
    assert set(other["contrast"]) == {"control - active"}
    np.testing.assert_allclose(own["estimate"], -other["estimate"])
    chosen = mmrm.fit_mmrm(words, FORMULA, **KEYS).contrasts("arm", reference="control")
    np.testing.assert_allclose(chosen["estimate"], own["estimate"])
    np.testing.assert_allclose(chosen["g_ci_low"], own["g_ci_low"])
    by_level = mmrm.fit_mmrm(words, FORMULA, **KEYS).contrasts("active", "control")
    pd.testing.assert_frame_equal(by_level, chosen)


def test_visits_come_in_the_order_of_their_categories():
    data = trial().replace({"visit": {"week1": "start", "week2": "middle", "week3": "end"}})
    order = ["start", "middle", "end"]
    data["visit"] = pd.Categorical(data["visit"], order)
    fit = mmrm.fit_mmrm(data, FORMULA, **KEYS)
    assert fit.visits == list(fit.covariance) == fit.contrasts("arm")["visit"].tolist() == order
    plain = mmrm.fit_mmrm(trial(), FORMULA, **KEYS)
    np.testing.assert_allclose(fit.contrasts("arm")["t"], plain.contrasts("arm")["t"], rtol=1e-7)


def test_average_over_visits_is_the_mean_of_the_contrasts():
    fit = mmrm.fit_mmrm(trial(missing=0.1), FORMULA, **KEYS)
    average, each = fit.contrasts("arm", by=None), fit.contrasts("arm")
    assert average["visit"].tolist() == ["all"]
    assert list(average) == list(each)
    assert average["estimate"].iloc[0] == pytest.approx(each["estimate"].mean())
    root = np.sqrt(np.diag(fit.covariance).mean())
    g = average["estimate"] / root * hedges_correction(average["df"])
    assert average["hedges_g"].iloc[0] == pytest.approx(g.iloc[0])


def test_means_average_factors_equally_and_hold_covariates_at_their_mean():
    data = trial(n=20, seed=2)
    site = data["id"].map(lambda p: "north" if int(p[1:]) % 4 else "south")  # three to one
    data = data.assign(site=site)
    fit = mmrm.fit_mmrm(data, FORMULA + " + site", **KEYS)
    beta = fit.coefficients["estimate"]
    expected = (
        beta["Intercept"] + beta["baseline"] * data["baseline"].mean() + beta["site[T.south]"] / 2
    )
    assert fit.means("arm").iloc[0]["mean"] == pytest.approx(expected)
    means = fit.means("arm").set_index(["arm", "visit"])["mean"]
    difference = means["active"] - means["control"]
    np.testing.assert_allclose(difference, fit.contrasts("arm")["estimate"])


def test_three_arms_give_two_contrasts_a_visit():
    data = trial(n=24)
    arm = np.array(["a", "b", "c"])[data["id"].str[1:].astype(int) % 3]
    fit = mmrm.fit_mmrm(data.assign(arm=arm), FORMULA, **KEYS)
    table = fit.contrasts("arm", "b")
    assert table["visit"].tolist() == ["week1"] * 2 + ["week2"] * 2 + ["week3"] * 2
    assert table["contrast"].tolist() == ["a - b", "c - b"] * 3
    assert fit.contrasts("c", "b")["contrast"].tolist() == ["c - b"] * 3


def test_hedges_g_of_one_visit_is_the_textbook_one_with_its_exact_interval():
    data = trial(n_visits=1, effect=-3)
    row = mmrm.fit_mmrm(data, "change ~ arm", **KEYS).contrasts("arm").iloc[0]
    active, control = (data.loc[data["arm"] == a, "change"] for a in ("active", "control"))
    g = pg.compute_effsize(active, control, eftype="hedges")
    assert row["hedges_g"] == pytest.approx(g, rel=2e-3)  # pingouin approximates J
    for limit, tail in ((row["g_ci_low"], 0.975), (row["g_ci_high"], 0.025)):
        noncentrality = limit * np.sqrt(18 * 18 / 36)
        # by symmetry, since the distribution function is not reliable in the far left tail
        assert 1 - stats.nct.cdf(-row["t"], 34, -noncentrality) == pytest.approx(tail, abs=1e-6)


def test_interval_of_g_covers_what_it_should():
    """Coverage of the population value in 2,000 draws of an exact t: within Monte-Carlo error."""
    rng = np.random.default_rng(1)
    truth, se, df = -0.7, np.sqrt(2 / 18), 34
    sd = np.sqrt(rng.chisquare(df, 2000) / df)
    estimate = rng.normal(truth, se, 2000)
    table = pd.DataFrame({"estimate": estimate, "se": se * sd, "df": df})
    table["t"] = table["estimate"] / table["se"]
    g = mmrm._hedges(table, sd, 0.95)
    covered = ((g["g_ci_low"] < truth) & (truth < g["g_ci_high"])).mean()
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 2000))
    assert g["hedges_g"].mean() == pytest.approx(truth, abs=3 * g["hedges_g"].std() / 2000**0.5)


def test_inverse_of_the_noncentral_t_is_the_one_by_quadrature():
    nodes, weights = np.polynomial.legendre.leggauss(200)
    for df in (4, 34, 150):
        scale = np.sqrt(stats.chi2.ppf((nodes + 1) / 2, df) / df)
        for t in (0.0, 0.5, 3.0, 12.0):
            for p in (0.025, 0.975):
                found = special.nctdtrinc(df, p, t)
                assert weights @ special.ndtr(t * scale - found) / 2 == pytest.approx(p, abs=1e-4)


# --- what the object holds


def test_numbers_of_the_fit_are_counted_as_r_counts_them():
    data = trial(missing=0.2, seed=9)
    fit = mmrm.fit_mmrm(data, FORMULA, **KEYS)
    used = data.dropna()
    assert (fit.n_rows, fit.n_dropped) == (len(used), len(data) - len(used))
    assert fit.n_participants == used["id"].nunique()
    assert fit.deviance == -2 * fit.loglik
    assert fit.aic == pytest.approx(fit.deviance + 2 * 6)
    assert fit.bic == pytest.approx(fit.deviance + np.log(fit.n_participants) * 6)
    assert f"{fit.n_dropped} rows left out ({fit.n_dropped} without change)" in fit.summary()


def test_residuals():
    data = trial(missing=0.2, seed=9).set_index(np.arange(1000, 1108))
    fit = mmrm.fit_mmrm(data, FORMULA, **KEYS)
    table, covariance = fit.residuals, fit.covariance.to_numpy()
    used = data.loc[table.index]
    np.testing.assert_allclose(table["raw"], used["change"] - fit.fitted)
    sd = np.sqrt(np.diag(covariance))[table["visit"].cat.codes]
    np.testing.assert_allclose(table["pearson"], table["raw"] / sd)
    total = 0.0
    for _, own in table.groupby("id"):
        codes = own["visit"].cat.codes.to_numpy()
        quadratic = own["raw"] @ np.linalg.solve(covariance[np.ix_(codes, codes)], own["raw"])
        assert (own["normalized"] ** 2).sum() == pytest.approx(quadratic)
        total += quadratic
    assert total == pytest.approx(fit.n_rows - len(fit.terms), rel=0.15)


def test_adjusted_covariance_holds_the_standard_errors():
    fit = mmrm.fit_mmrm(trial(missing=0.15, seed=2), FORMULA, **KEYS)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov)), fit.coefficients["se"])
    plain = mmrm.fit_mmrm(trial(missing=0.15, seed=2), FORMULA, df="satterthwaite", **KEYS)
    np.testing.assert_allclose(fit.vcov_unadjusted, plain.vcov)
    assert (fit.coefficients["se"] >= plain.coefficients["se"]).all()
    pd.testing.assert_frame_equal(plain.vcov, plain.vcov_unadjusted)


# --- bad input


def change(data, where, **values):
    return data.assign(**{k: data[k].astype(object).mask(where, v) for k, v in values.items()})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.drop(columns="visit"), "no column 'visit' \\(visit\\).*found: id, arm"),
        (lambda d: d.drop(columns="id"), "no column 'id' \\(subject\\)"),
        (lambda d: d.drop(columns="baseline"), "no column 'baseline' \\(formula"),
        (lambda d: pd.concat([d, d.head(1)]), "participant 'p00' has 2 rows at visit 'week1'"),
        (lambda d: d.assign(id=d["id"].where(d["id"] != "p03")), "column 'id': 3 rows are empty"),
        (lambda d: d.assign(change="bad"), "outcome 'change': numbers expected, found"),
        (lambda d: d.assign(change=np.nan), "no row is complete: of 108 rows, 108 without change"),
        (lambda d: d.assign(baseline=np.inf), "column 'baseline': infinite values"),
        (lambda d: d.assign(baseline=1.0), "columns and rank 6: .*baseline.*can be told"),
        (lambda d: d.assign(arm="active"), "column 'arm' has one level only \\('active'\\)"),
        (
            lambda d: d[(d["arm"] == "control") | (d["id"] == "p00")],
            "column 'arm', level 'active' occurs in one participant only \\('p00'\\)",
        ),
        (
            lambda d: d.assign(change=d["change"].mask(d["visit"] == "week3")),
            "column 'visit': nobody was rated at 'week3' \\(rows left out: 36 without change\\)",
        ),
        (
            lambda d: d[(d["arm"] == "control") | (d["visit"] != "week3")],
            "column 'arm', level 'active': nobody was rated at visit 'week3'",
        ),
        (
            lambda d: d.assign(change=d["change"].mask(d["arm"] == "active", -4.0)),
            "column 'arm', level 'active': no variance.*such as -4",
        ),
        (
            lambda d: d.assign(change=d["change"].mask(d["arm"] == "active")),
            "column 'arm': nobody is left with 'active'",
        ),
    ],
)  # fmt: skip
def test_data_that_cannot_answer_are_refused(spoil, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        mmrm.fit_mmrm(spoil(trial()), FORMULA, **KEYS)


def test_a_level_that_occurs_once_is_refused():
    data = trial()
    data["site"] = np.where(data["id"] == "p07", "far", "near")
    with pytest.raises(
        ValueError, match=r"'site', level 'far' occurs in one participant only \('p07'"
    ):
        mmrm.fit_mmrm(data, FORMULA + " + site", **KEYS)


def test_more_than_eight_visits_are_refused():
    with pytest.raises(ValueError, match="at most 8 visits expected, found 9"):
        mmrm.fit_mmrm(trial(n_visits=9), FORMULA, **KEYS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "un"}, "covariance 'un': one of us, toeph, toep, csh, cs, ar1h, ar1"),
        ({"df": "z"}, "df 'z': one of kenward-roger, satterthwaite"),
        ({"reml": False}, "Kenward-Roger needs REML: say reml=True, or df='satterthwaite'"),
        ({"formula": "change"}, "one outcome, a tilde and terms expected"),
    ],
)
def test_options_that_do_not_exist_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mmrm.fit_mmrm(trial(), **{"formula": FORMULA, **KEYS, **options})


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda f: f.contrasts("arm", "placebo"), "reference 'placebo': one of .*control"),
        (lambda f: f.contrasts("dose"), "arm 'dose': a factor of the formula expected \\(arm\\)"),
        (lambda f: f.means("arm", "week3"), "visit 'week3': 'visit' or None expected"),
        (lambda f: f.test(np.ones((2, len(f.terms)))), "rows depend on each other"),
        (lambda f: f.test([1, 2]), "rows of 9 weights"),
        (lambda f: f.estimates(pd.Series({"dose": 1.0})), "no term 'dose'"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused(ask, message):
    fit = mmrm.fit_mmrm(trial(), FORMULA, **KEYS)
    with pytest.raises(ValueError, match=message):
        ask(fit)


def test_words_and_numbers_mixed_are_refused():
    data = trial().assign(visit=lambda d: d["visit"].astype(object).mask(d["visit"] == "week2", 2))
    with pytest.raises(ValueError, match="column 'visit' mixes int and str"):
        mmrm.fit_mmrm(data, FORMULA, **KEYS)


def test_a_transformation_that_fails_is_refused():
    data = trial().assign(baseline=lambda d: d["baseline"].mask(d["id"] == "p01", 0.0))
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=r"np.log\(baseline\).*log"):
        mmrm.fit_mmrm(data, "change ~ np.log(baseline) + arm*visit", **KEYS)


def test_a_centred_covariate_changes_nothing_that_matters():
    centred = "change ~ center(baseline)*visit + C(arm)*visit"
    ours = mmrm.fit_mmrm(trial(), centred, **KEYS).contrasts("arm")
    plain = mmrm.fit_mmrm(trial(), FORMULA, **KEYS).contrasts("arm")
    pd.testing.assert_frame_equal(ours, plain, rtol=1e-6)


def test_unused_categories_are_said_not_fitted():
    data = trial(n_visits=2)
    data["visit"] = pd.Categorical(data["visit"], ["baseline", "week1", "week2"])
    fit = mmrm.fit_mmrm(data, FORMULA, **KEYS)
    assert fit.visits == ["week1", "week2"]
    assert "visit: no rows for baseline" in fit.summary()


# --- when the covariance cannot be estimated


def copied_visit():
    """The third visit repeats the second: their correlation is 1."""
    data = trial()
    wide = data.pivot(index="id", columns="visit", values="change")
    repeat = data["id"].map(wide["week2"])
    return data.assign(change=data["change"].where(data["visit"] != "week3", repeat))


def test_a_visit_that_repeats_another_does_not_converge():
    expected = r"covariance 'us': singular.*'week2' and 'week3' is 1.0000.*fit_with_fallback"
    with pytest.raises(mmrm.ConvergenceError, match=expected):
        mmrm.fit_mmrm(copied_visit(), FORMULA, **KEYS)


def test_fallback_says_which_covariance_was_used_and_why():
    fit = mmrm.fit_with_fallback(copied_visit(), FORMULA, **KEYS)
    assert fit.covariance_structure in ("toeph", "csh", "cs")
    assert fit.fallback_reason.startswith("us: singular")
    assert "simpler covariance since us: singular" in fit.summary()
    plain = mmrm.fit_with_fallback(trial(), FORMULA, **KEYS)
    assert (plain.covariance_structure, plain.fallback_reason) == ("us", None)


def test_visits_that_share_no_participant_fall_back():
    data = trial()
    even = data["id"].str[1:].astype(int) % 2 == 0
    data = data[~((data["visit"] == "week1") & even) & ~((data["visit"] == "week3") & ~even)]
    with pytest.raises(mmrm.ConvergenceError, match="'week1' and 'week3' share 0 participants"):
        mmrm.fit_mmrm(data, FORMULA, **KEYS)
    fit = mmrm.fit_with_fallback(data, FORMULA, **KEYS)
    assert fit.covariance_structure == "csh"  # Toeplitz lacks its lag 2 too
    assert np.isfinite(fit.contrasts("arm").drop(columns=["visit", "contrast"])).all(axis=None)


def test_one_visit_a_participant_cannot_tell_a_correlation():
    data = trial(n=30)
    data = data[data["id"].str[1:].astype(int) % 3 == data["visit"].str[-1].astype(int) - 1]
    expected = (
        "no covariance converged. us: visits .* share 0 participants.*; cs: the likelihood is flat"
    )
    with pytest.raises(mmrm.ConvergenceError, match=expected):
        mmrm.fit_with_fallback(data, FORMULA, **KEYS)


def test_outcomes_that_the_design_fits_exactly_are_refused():
    data = trial().assign(change=lambda d: d["baseline"] * 2 + (d["visit"] == "week2"))
    with pytest.raises(mmrm.ConvergenceError, match="fit every outcome exactly"):
        mmrm.fit_with_fallback(data, FORMULA, **KEYS)


def test_too_few_participants_are_refused_and_say_so():
    data = trial(n=2, n_visits=3)
    with pytest.raises(mmrm.ConvergenceError, match="covariance 'us'"):
        mmrm.fit_mmrm(data, FORMULA, **KEYS)
