"""Each patient's own coupling of change with a receptor map, as an outcome of the trial."""

import numpy as np
import pandas as pd
from scipy import stats

from analysis_lib.receptors.correlation import correlate
from analysis_lib.receptors.effects import nuisance_columns, stratum_numbers
from analysis_lib.receptors.nulls import null_test, placed
from voxelperm import draw_permutations, hedges_correction, nuisance_basis


def individual_coupling(change, receptors, method="gaussianised"):
    """Each participant's own correlation of change with each receptor: Fisher z, arctanh(r).

    ``change`` (n_participants, n_parcels, percent) and ``receptors`` (n_receptors, n_parcels) give
    (n_participants, n_receptors).
    """
    return np.arctanh(correlate(change, receptors, method))


def arm_table(z, arm, about, covariates=None, strata=None, n_permutations=5000, seed=0, level=0.95):
    """Does the coupling differ between the arms?

    Least squares of Fisher z on arm, covariates and strata; p from re-randomised labels
    (Freedman & Lane 1983), one map alone and family-wise by the largest |t| over maps.

    Parameters
    ----------
    z : array_like, shape (n_participants, n_receptors)
        From `individual_coupling`.
    arm : array_like, shape (n_participants,)
        "active" / "control".
    about : pandas.DataFrame
        Table of the receptor maps, in the order of `z`.
    covariates, strata
        See `analysis_lib.receptors.effects.effect_map`.
    n_permutations, seed : int
    level : float
        Of the interval.

    Returns
    -------
    pandas.DataFrame
        receptor, annotation, n_active, n_control, mean_active, mean_control (of z, unadjusted),
        difference (active - control, adjusted), ci_low, ci_high, t, df, hedges_g, p, p_fwe.
    """
    z, active = np.asarray(z, dtype=float), np.asarray(arm) == "active"
    nuisance, strata = nuisance_columns(len(z), covariates, strata), stratum_numbers(strata, len(z))
    model = _Model(z, active.astype(float), nuisance)
    test = model.test(strata, n_permutations, seed)
    difference = model.slopes
    margin = stats.t.ppf((1 + level) / 2, model.df) * model.standard_errors
    rows = {
        "receptor": about["receptor"].to_numpy(),
        "annotation": about.index,
        "n_active": int(active.sum()),
        "n_control": int((~active).sum()),
        "mean_active": z[active].mean(axis=0),
        "mean_control": z[~active].mean(axis=0),
        "difference": difference,
        "ci_low": difference - margin,
        "ci_high": difference + margin,
        "t": test.r,
        "df": model.df,
        "hedges_g": difference / _pooled_sd(z, active) * hedges_correction(len(z) - 2),
        "p": test.p,
        "p_fwe": test.p_fwe,
    }
    return pd.DataFrame(rows)


def improvement_table(
    z,
    improvement,
    arm,
    about,
    covariates=None,
    strata=None,
    n_permutations=5000,
    seed=0,
    level=0.95,
):
    """Do patients whose change follows a receptor more closely improve more, within arms?

    Partial correlation of Fisher z with improvement, arm and covariates held constant; p from
    participants exchanged within their arm and stratum, on residuals (Freedman & Lane 1983).

    Parameters
    ----------
    z, arm, about, covariates, strata, n_permutations, seed, level
        See `arm_table`.
    improvement : array_like, shape (n_participants,)
        Points; participants without one are left out.

    Returns
    -------
    pandas.DataFrame
        receptor, annotation, n, r, ci_low, ci_high (Fisher), p, p_fwe.
    """
    z, improvement = np.asarray(z, dtype=float), np.asarray(improvement, dtype=float)
    known, active = np.isfinite(improvement), np.asarray(arm) == "active"
    nuisance = np.column_stack([nuisance_columns(len(z), covariates, strata), active])[known]
    cells = (active + 2 * stratum_numbers(strata, len(z)))[known]
    model = _Model(z[known], improvement[known], nuisance)
    test = model.test(cells, n_permutations, seed)
    r = test.r / np.sqrt(test.r**2 + model.df)
    margin = stats.norm.ppf((1 + level) / 2) / np.sqrt(model.df - 1)
    rows = {
        "receptor": about["receptor"].to_numpy(),
        "annotation": about.index,
        "n": int(known.sum()),
        "r": r,
        "ci_low": np.tanh(np.arctanh(r) - margin),
        "ci_high": np.tanh(np.arctanh(r) + margin),
        "p": test.p,
        "p_fwe": test.p_fwe,
    }
    return pd.DataFrame(rows)


class _Model:
    """Least squares of many outcomes on one tested column and nuisance; t for permutations.

    With y the residuals of the nuisance model, P a permutation, Q the nuisance basis and x the
    tested column (residual, unit length), t = x'Py / sqrt((|y|^2 - |Q'Py|^2 - (x'Py)^2) / df), as
    in `voxelperm.model.VoxelModel`, here for few outcomes and in double precision.
    """

    def __init__(self, outcomes, tested, nuisance):
        self.tested, self.basis = tested, nuisance_basis(nuisance, len(tested), True)
        x = tested - self.basis @ (self.basis.T @ tested)
        length = np.linalg.norm(x)
        if length < 1e-8 * np.linalg.norm(tested):
            raise ValueError(
                "the tested column follows from arm, covariates or strata: no effect to estimate"
            )
        self.x, self.y = x / length, outcomes - self.basis @ (self.basis.T @ outcomes)
        self.df = len(tested) - self.basis.shape[1] - 1
        self.slopes = self.x @ self.y / length
        left = (self.y**2).sum(axis=0) - (self.x @ self.y) ** 2
        self.standard_errors = np.sqrt(left / self.df) / length

    def t(self, permutations):
        effect, *fitted = (placed(row, permutations) @ self.y for row in (self.x, *self.basis.T))
        left = (self.y**2).sum(axis=0) - sum(part**2 for part in fitted) - effect**2
        return effect / np.sqrt(left / self.df)

    def test(self, blocks, n_permutations, seed):
        n = len(self.tested)
        permutations, exhaustive = draw_permutations(
            n_permutations, n, self.tested, blocks, seed=seed
        )
        return null_test(self.t(np.arange(1, n + 1)[None])[0], self.t(permutations), exhaustive)


def _pooled_sd(z, active):
    squares = sum((len(part) - 1) * part.var(axis=0, ddof=1) for part in (z[active], z[~active]))
    return np.sqrt(squares / (len(z) - 2))
