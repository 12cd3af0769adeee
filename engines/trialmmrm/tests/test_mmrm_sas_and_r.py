"""Against SAS PROC MIXED, R's mmrm, emmeans and lmer, on public trials."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trialmmrm import DF_METHODS, MMRM, STRUCTURES, fit_mmrm
from trialmmrm.covariance_estimate import CovarianceEstimate

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

# What R's mmrm prints for FEV1 ~ RACE + SEX + ARMCD * AVISIT (README.md of openpharma/mmrm):
# coefficients in the order of its model, and its covariance estimate, lower triangle by rows.
R_FEV = [30.77747548, 1.53049977, 5.64356535, 0.32606192, 3.77423004, 4.83958845, 10.34211288,
         15.05389826, -0.04192625, -0.69368537, 0.62422703]  # fmt: skip

R_FEV_COVARIANCE = [40.5537, 14.3960, 26.5715, 4.9747, 2.7855, 14.8979, 13.3867, 7.4745, 0.9082,
                    95.5568]  # fmt: skip


def fit_fev(fev, formula="FEV1 ~ ARMCD", **options):
    return fit_mmrm(fev, formula, subject="USUBJID", visit="AVISIT", **options)


def at_covariance(fit, covariance):
    """The unstructured model with its inference at a given covariance matrix."""
    likelihood = fit._estimate.likelihood
    working = covariance / likelihood.scale**2
    state = likelihood.differentiate(working)
    natural = STRUCTURES["us"].natural(working)
    slope, hessian = likelihood.chain(state, natural)
    weights = 2 * np.linalg.inv(hessian)
    estimate = CovarianceEstimate(likelihood, state, working, natural, weights)
    return MMRM(fit._design, estimate, fit.formula, "us", fit.df_method, 0), slope, hessian


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
    """One row of weights for each term that starts with ``start``."""
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
    theta, history = minimum_norm_start(fit, fit._estimate.natural), []
    for _ in range(10):
        sas, slope, hessian = at_covariance(fit, fit._estimate.natural.first @ theta)
        history.append(sas.deviance)
        step = np.linalg.solve(hessian, slope)
        if slope @ step / sas.deviance < 1e-8:
            break
        theta = theta - step * fit._estimate.likelihood.scale**2
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
    fit = fit_mmrm(depression, formula, df="satterthwaite", **keys)
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


@pytest.mark.parametrize("df", DF_METHODS)
def test_sudmex_is_lmer_with_compound_symmetry(reference_data, df):
    table = pd.read_csv(reference_data / "data/trials/sudmex_tms/data2w.csv")
    expected = pd.read_csv(reference_data / "reference/clinical/sudmex_lmer.tsv", sep="\t")
    for outcome, rows in expected.groupby("outcome"):
        formula = f"{outcome} ~ stage*group + age + sex"
        keys = {"subject": "rid", "visit": "stage", "covariance": "cs", "df": df}
        ours = fit_mmrm(table, formula, **keys).coefficients
        ours = ours.loc[rows["term"].str.replace("[", "[T.")]
        for column in ("estimate", "se", "df", "t", "p"):
            np.testing.assert_allclose(ours[column], rows[column], rtol=2e-6)


def test_sleep_is_the_paired_t_test_as_in_sas():
    """R's ``sleep`` (issue 510 of openpharma/mmrm): SAS gives se .38896, R's mmrm another one."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    data = pd.DataFrame({"extra": first + second, "group": ["1"] * 10 + ["2"] * 10})
    data["id"] = [*range(10), *range(10)]
    fit = fit_mmrm(data, "extra ~ group", subject="id", visit="group")
    row = fit.coefficients.iloc[1]
    assert row["estimate"] == pytest.approx(1.58)
    assert row["se"] == pytest.approx(0.38896, abs=5e-6)
    assert row["df"] == pytest.approx(9, rel=1e-4)
    paired = stats.ttest_rel(second, first)
    assert row["p"] == pytest.approx(paired.pvalue, rel=1e-3)


def test_claus_2020_is_that_of_gls(reference_data):
    """HAMD at three visits after baseline, 41 of 43 analysed; estimates and logLik of R's gls."""
    rows = pd.read_csv(reference_data / "data" / "trials" / "claus2020" / "claus_2020.csv")
    wide = rows.pivot(index=["id", "treatment"], columns="time", values="hamd").reset_index()
    long = wide.melt(["id", "treatment", 1], var_name="visit", value_name="score").dropna()
    long = long.rename(columns={1: "baseline"}).assign(change=lambda d: d["score"] - d["baseline"])
    long["arm"] = pd.Categorical(long["treatment"], ["TAU", "PA"])
    fit = fit_mmrm(long, "change ~ baseline*visit + arm*visit", "id", "visit")
    assert fit.n_participants == 41
    estimates = fit.contrasts("arm")["estimate"]
    np.testing.assert_allclose(estimates, [-6.379, -6.343, -9.794], atol=5e-4)
    assert fit.loglik == pytest.approx(-328.1192, abs=5e-5)
