"""The fitted model: one object that answers, by the functions of the other files."""

from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from trialmmrm import covariance_estimate, kenward_roger, lsmeans, satterthwaite
from trialmmrm.hedges import hedges_g
from trialmmrm.inference import t_table, weight_rows
from trialmmrm.residuals import residual_table, whitened


class MMRM:
    """A fitted mixed model for repeated measures; made by :func:`fit_mmrm`.

    Attributes
    ----------
    coefficients : pandas.DataFrame
        Index term; estimate, se, df, t, p.
    loglik, deviance, aic, bic : float
        REML or ML; deviance is -2 loglik. AIC and BIC count the covariance parameters, and BIC the
        participants, as R's mmrm does.
    covariance : pandas.DataFrame
        Visit by visit, in squared units of the outcome.
    vcov, vcov_unadjusted : pandas.DataFrame
        Of the coefficients, with and without Kenward and Roger's adjustment (the same with
        Satterthwaite).
    residuals : pandas.DataFrame
        The subject's and the visit's column, raw, pearson (raw over the visit's standard deviation)
        and normalized (raw by the inverse Cholesky factor of the participant's covariance), for
        each row used, with the index of the data.
    fitted : pandas.Series
        Fitted value of each row used, with the index of the data.
    terms : pandas.Index
        Names of the q coefficients.
    visits : list
        In order.
    covariance_structure : str
    df_method : str
    fallback_reason : str or None
    n_participants, n_rows, n_dropped, n_parameters, iterations : int
        n_dropped: rows left out because the outcome or a covariate is missing; n_parameters: of the
        covariance.
    notes : tuple of str
        What was left out of the data.
    """

    def __init__(self, design, estimate, formula, covariance, df, iterations):
        self._design, self._estimate = design, estimate
        self.formula, self.df_method, self.reml = formula, df, estimate.likelihood.reml
        self.covariance_structure, self.fallback_reason = covariance, None
        self.iterations, self.n_dropped, self.notes = iterations, design.n_dropped, design.notes
        self.n_participants, self.n_rows = len(design.rows), len(design.y)
        self.n_parameters = estimate.n_parameters
        self.subject, self.visit, self.visits = design.subject, design.visit, list(design.visits)

    def __repr__(self):
        what = f"{self.n_participants} participants, {self.n_rows} rows, {len(self.visits)} visits"
        return f"<MMRM {self.formula!r}, {self.covariance_structure}, {what}>"

    # -- the likelihood

    @property
    def deviance(self):
        return float(self._estimate.state.deviance)

    @property
    def loglik(self):
        return -self.deviance / 2

    @property
    def aic(self):
        return self.deviance + 2 * self.n_parameters

    @property
    def bic(self):
        return self.deviance + np.log(self.n_participants) * self.n_parameters

    # -- coefficients and covariances

    @property
    def terms(self):
        return pd.Index(self._design.x.columns, name="term")

    @cached_property
    def coefficients(self):
        table = self.estimates(np.eye(len(self.terms))).drop(columns=["ci_low", "ci_high"])
        return table.set_axis(self.terms)

    @cached_property
    def covariance(self):
        index = pd.Index(self.visits, name=self.visit)
        matrix = self._estimate.likelihood.scale**2 * self._estimate.matrix
        return pd.DataFrame(matrix, index, index.rename(None))

    @cached_property
    def vcov(self):
        return self._by_term(self._adjusted)

    @cached_property
    def vcov_unadjusted(self):
        return self._by_term(self._estimate.state.phi)

    def _by_term(self, working):
        values = self._estimate.in_formula_basis(working)
        return pd.DataFrame(values, self.terms, self.terms.rename(None))

    @cached_property
    def _adjusted(self):
        """Covariance of the coefficients in the working basis, by the method chosen."""
        if self.df_method == "kenward-roger":
            return kenward_roger.adjusted_covariance(self._estimate)
        return self._estimate.state.phi

    def draw(self, n, rng):
        """Draws from the approximate posterior, for multiple imputation.

        Parameters
        ----------
        n : int
        rng : numpy.random.Generator

        Returns
        -------
        coefficients : numpy.ndarray, shape (n, q)
            In the order of ``terms``.
        covariances : numpy.ndarray, shape (n, n_visits, n_visits)
        """
        return covariance_estimate.draw(self._estimate, n, rng)

    # -- linear combinations of coefficients

    def estimates(self, contrasts, level=0.95):
        """Estimate each row of ``contrasts`` by itself.

        Parameters
        ----------
        contrasts : array_like, shape (r, q) or (q,)
            Weights of the coefficients, in the order of ``terms``; a DataFrame, Series or dict is
            read by the names of terms, absent terms are 0.
        level : float
            Of the interval.

        Returns
        -------
        pandas.DataFrame
            estimate, se, df, ci_low, ci_high, t, p.

        Raises
        ------
        ValueError
            Weights that do not fit the terms, or no usable degrees of freedom: the message says
            which row.
        """
        rows = weight_rows(contrasts, self.terms)
        working = self._estimate.in_working_basis(rows)
        variance = np.einsum("ri,ij,rj->r", working, self._adjusted, working)
        se = self._estimate.likelihood.scale * np.sqrt(np.maximum(variance, 0))
        df = satterthwaite.degrees_of_freedom(self._estimate, working)  # Kenward-Roger: the same
        bad = ~((se > 0) & np.isfinite(df) & (df > 0))
        if bad.any():
            raise ValueError(self._unusable(rows[bad.argmax()]))
        return t_table(rows @ self._estimate.beta, se, df, level)

    def _unusable(self, row):
        weights = ", ".join(f"{w:g} {term}" for w, term in zip(row, self.terms, strict=True) if w)
        return (
            f"{self.df_method} gives no usable standard error or degrees of freedom for the "
            f"contrast {weights}: too few participants ({self.n_participants}) for "
            f"{self.n_parameters} covariance parameters; use a simpler covariance"
        )

    def test(self, contrasts):
        """Test that all rows of ``contrasts`` times the coefficients are 0.

        Kenward-Roger: F scaled by lambda, with the degrees of freedom of Kenward & Roger (1997,
        Biometrics 53:983-997). Satterthwaite: Fai & Cornelius (1996, J Stat Comput Simul
        54:363-378), as R's mmrm and lmerTest do.

        Parameters
        ----------
        contrasts : array_like, shape (r, q)
            As in :meth:`estimates`; rows must be linearly independent.

        Returns
        -------
        pandas.Series
            num_df, den_df, F, p.

        Raises
        ------
        ValueError
            As in :meth:`estimates`, or rows that depend on each other.
        """
        rows = weight_rows(contrasts, self.terms)
        if np.linalg.matrix_rank(rows) < len(rows):
            raise ValueError("contrasts: rows depend on each other; leave the redundant ones out")
        estimate = self._estimate
        working = estimate.in_working_basis(rows)
        value = rows @ estimate.beta / estimate.likelihood.scale
        if self.df_method == "kenward-roger":
            statistic, df = kenward_roger.scaled_f(estimate, self._adjusted, working, value)
        else:
            statistic, df = satterthwaite.fai_cornelius_f(estimate, working, value)
        if not (np.isfinite(statistic) and df > 0):
            raise ValueError(self._unusable(rows[0]))
        p = stats.f.sf(statistic, len(rows), df)
        return pd.Series({"num_df": len(rows), "den_df": df, "F": statistic, "p": p})

    # -- least-squares means

    def means(self, arm, visit="visit", level=0.95):
        """Least-squares means by arm and visit, as emmeans and SAS's lsmeans give them.

        Other factors are averaged with equal weights over their levels, numeric covariates stand at
        their mean over the rows used.

        Parameters
        ----------
        arm : str
            Column of the arms.
        visit : str or None
            The visit's column (or the word visit); None averages over visits, equal weights.
        level : float
            Of the interval.

        Returns
        -------
        pandas.DataFrame
            arm, visit, mean, se, df, ci_low, ci_high; arms in the order of their levels, then
            visits in order.

        Raises
        ------
        ValueError
            ``arm`` is not a factor of the formula, or ``visit`` is another column.
        """
        keys, rows = lsmeans.mean_rows(self._design, arm, visit)
        table = self.estimates(rows, level).rename(columns={"estimate": "mean"})
        return pd.concat([keys, table.drop(columns=["t", "p"])], axis=1)

    def contrasts(self, arm, reference=None, by="visit", level=0.95):
        """Differences of least-squares means between arms.

        Hedges g is the difference over the model's standard deviation at that visit (averaged over
        visits: the root of the mean variance), times J(df). Its interval is that of the population
        value: the noncentrality parameters at which the observed t is the upper and lower limit
        (Steiger & Fouladi 1997; Cumming & Finch 2001, Educ Psychol Meas 61:532-574), times
        se / SD. It is exact for one visit and, unlike the interval of the difference divided by
        the SD, allows for the SD being an estimate. J corrects the estimate's bias, not the limits.

        Parameters
        ----------
        arm : str
            Column of the arms, or one of its levels (then only that one is compared).
        reference : optional
            Level that the others are compared with; default: the reference of the formula.
        by : str or None
            The visit's column (or the word visit); None averages over visits, equal weights.
        level : float
            Of the intervals.

        Returns
        -------
        pandas.DataFrame
            visit, contrast, estimate, se, df, ci_low, ci_high, t, p, hedges_g, g_ci_low, g_ci_high,
            in visit order.

        Raises
        ------
        ValueError
            As in :meth:`means`, or there is no such reference.
        """
        keys, rows = lsmeans.difference_rows(self._design, arm, reference, by)
        table = self.estimates(rows, level)
        each_visit = lsmeans.by_visit(self._design, by)
        sd = [self._sd(v if each_visit else None) for v in keys["visit"]]
        return pd.concat([keys, table, hedges_g(table, np.array(sd), level)], axis=1)

    def _sd(self, visit):
        """Standard deviation at a visit; None: root of the mean variance over visits."""
        variances = np.diag(self.covariance)
        return np.sqrt(variances.mean() if visit is None else variances[self.visits.index(visit)])

    # -- residuals

    @cached_property
    def fitted(self):
        values = self._design.x.to_numpy(float) @ self._estimate.beta
        return pd.Series(values, self._design.index, name="fitted")

    @cached_property
    def residuals(self):
        raw = self._design.y - self.fitted.to_numpy()
        likelihood = self._estimate.likelihood
        return residual_table(self._design, likelihood, self.covariance.to_numpy(), raw)

    def whitened(self):
        """The model as one of independent rows of variance 1, for tests that flip or resample.

        Returns
        -------
        x : numpy.ndarray, shape (n_rows, q)
            The design by the inverse Cholesky factor of each participant's covariance.
        y : numpy.ndarray, shape (n_rows,)
            The outcomes likewise: least squares of y on x gives the coefficients.
        participant : numpy.ndarray of object, shape (n_rows,)
        """
        columns = np.column_stack([self._design.x.to_numpy(float), self._design.y])
        covariance = self.covariance.to_numpy()
        rows = whitened(self._design, self._estimate.likelihood, covariance, columns)
        return rows[:, :-1], rows[:, -1], self._design.used[self.subject].to_numpy(object)

    def difference_weights(self, arm, reference=None, by="visit"):
        """Weights of the coefficients in :meth:`contrasts`, (n_differences, q), in their order."""
        return lsmeans.difference_rows(self._design, arm, reference, by)[1]

    def summary(self):
        """The fit in words and numbers, for reading.

        Returns
        -------
        str
        """
        method = "REML" if self.reml else "ML"
        lines = [
            f"MMRM {self.formula}",
            f"{self.n_participants} participants, {self.n_rows} rows, "
            f"{len(self.visits)} visits ({', '.join(map(str, self.visits))})",
            f"covariance {self.covariance_structure} ({self.n_parameters} parameters), {method}, "
            f"{self.df_method}; converged in {self.iterations} iterations",
            f"-2 log-likelihood {self.deviance:.4f}, AIC {self.aic:.4f}, BIC {self.bic:.4f}",
            *([f"simpler covariance since {self.fallback_reason}"] if self.fallback_reason else []),
            *self.notes,
            "",
            self.coefficients.to_string(float_format="{:.5g}".format),
        ]
        return "\n".join(lines)
