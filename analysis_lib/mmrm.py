"""Mixed model for repeated measures (MMRM): what SAS PROC MIXED and R's mmrm give, in Python.

The outcomes of a participant are normal with mean X beta and a covariance matrix over visits, the
same for everybody; visits that were missed are left out of it, which is right when data are missing
at random (Mallinckrodt et al. 2008, Drug Inf J 42:303-319). There are no random effects: the
covariance is modelled itself, by one of seven structures.

How it is computed. Participants are grouped by the visits that they have, and each group enters
through its cross-products alone, so that no step loops over participants. The likelihood and its
first and second derivatives are written once for the covariance matrix; a structure adds how the
matrix depends on its parameters (:class:`_Jet` carries the two derivatives). Newton's method runs
in parameters that cannot leave the positive definite matrices; inference uses the parameters of SAS
(variances, covariances, correlations).

The maximum is reached to the last digits. SAS and R stop a little before it, so that what they
print can differ in the fifth or sixth digit; SAS's own iterations, followed step by step, give
SAS's numbers to all digits (tests/test_mmrm.py).

Sources: Kenward & Roger 1997, Biometrics 53:983-997; Kenward & Roger 2009, Comput Stat Data Anal
53:2583-2595; SAS/STAT User's Guide, The MIXED Procedure; Sabanes Bove et al., R package mmrm;
Fai & Cornelius 1996, J Stat Comput Simul 54:363-378; Lenth, R package emmeans.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np
import pandas as pd
from formulaic import Formula
from scipy import linalg, special, stats

from analysis_lib.glm import hedges_correction

MAX_VISITS = 8
FALLBACK = ("us", "toeph", "csh", "cs")
DF_METHODS = ("kenward-roger", "satterthwaite")
SIMPLER = f"fit_with_fallback tries {', '.join(FALLBACK)} in turn"


class ConvergenceError(RuntimeError):
    """The covariance matrix could not be estimated; the message says why and what to do."""


# ---- second-order derivatives, carried along


class _Jet:
    """Array with its first and second derivatives with respect to K parameters.

    Parameters
    ----------
    value : numpy.ndarray, shape S
    first : numpy.ndarray, shape S + (K,)
    second : numpy.ndarray, shape S + (K, K)
    """

    def __init__(self, value, first, second):
        self.value, self.first, self.second = value, first, second

    @classmethod
    def parameters(cls, values):
        """The parameters themselves, shape (K,)."""
        k = len(values)
        return cls(np.asarray(values, float), np.eye(k), np.zeros((k, k, k)))

    def constant(self, values):
        """Numbers that do not depend on the parameters."""
        values, k = np.asarray(values, float), self.first.shape[-1]
        return _Jet(values, np.zeros((*values.shape, k)), np.zeros((*values.shape, k, k)))

    def __getitem__(self, key):
        return _Jet(self.value[key], self.first[key], self.second[key])

    def __add__(self, other):
        other = other if isinstance(other, _Jet) else self.constant(other)
        return _Jet(self.value + other.value, self.first + other.first, self.second + other.second)

    def __mul__(self, other):
        if not isinstance(other, _Jet):
            return _Jet(self.value * other, self.first * other, self.second * other)
        a, b = self.value[..., None], other.value[..., None]
        cross = self.first[..., :, None] * other.first[..., None, :]
        second = a[..., None] * other.second + b[..., None] * self.second
        return _Jet(
            self.value * other.value,
            a * other.first + b * self.first,
            second + cross + np.swapaxes(cross, -1, -2),
        )

    def apply(self, value, slope, curvature):
        """A function of this array, given its value and two derivatives at this array."""
        slope, curvature = np.asarray(slope)[..., None], np.asarray(curvature)[..., None, None]
        cross = self.first[..., :, None] * self.first[..., None, :]
        first = slope * self.first
        return _Jet(value, first, curvature * cross + slope[..., None] * self.second)

    def exp(self):
        e = np.exp(self.value)
        return self.apply(e, e, e)

    def sqrt(self):
        root = np.sqrt(self.value)
        return self.apply(root, 0.5 / root, -0.25 / root**3)

    def tanh(self):
        t = np.tanh(self.value)
        return self.apply(t, 1 - t**2, -2 * t * (1 - t**2))

    def sum(self, axis):
        return _Jet(self.value.sum(axis), self.first.sum(axis), self.second.sum(axis))


def _join(jets):
    """Jets of shape (n_i,) one after another."""
    parts = zip(*((j.value, j.first, j.second) for j in jets), strict=True)
    return _Jet(*(np.concatenate(part) for part in parts))


# ---- covariance structures


def _lags(n):
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n)))


def _levinson(partial):
    """Autocorrelations at lags 0 to K from K partial autocorrelations (Durbin-Levinson).

    Any partial autocorrelations between -1 and 1 give a positive definite Toeplitz matrix, and each
    such matrix is reached (Barndorff-Nielsen & Schou 1973, J Multivar Anal 3:408-419).
    """
    one = partial.constant(1.0)
    correlation, weights, left = [one], [], one
    for k in range(len(partial.value)):
        own = partial[k]
        value = own * left
        for j, weight in enumerate(weights):
            value = value + weight * correlation[k - j]
        weights = [w + own * weights[k - 1 - j] * -1.0 for j, w in enumerate(weights)] + [own]
        left = left * (own * own * -1.0 + 1.0)
        correlation.append(value)
    return _join([c[None] for c in correlation])


class _Unstructured:
    """Every variance and covariance by itself."""

    linear = True

    def n_parameters(self, n):
        return n * (n + 1) // 2

    def free(self, phi, n):
        """Covariance from the Cholesky factor: log diagonal, then rows below it."""
        phi = _Jet.parameters(phi)
        entries = _join([phi.constant([0.0]), phi[:n].exp(), phi[n:]])
        where = np.zeros((n, n), int)
        where[np.diag_indices(n)] = 1 + np.arange(n)
        where[np.tril_indices(n, -1)] = 1 + n + np.arange(n * (n - 1) // 2)
        root = entries[where]
        return (root[:, None, :] * root[None, :, :]).sum(2)

    def start(self, sd, correlation):
        n = len(sd)
        matrix = np.full((n, n), correlation)
        np.fill_diagonal(matrix, 1.0)
        root = sd[:, None] * np.linalg.cholesky(matrix)
        return np.concatenate([np.log(np.diag(root)), root[np.tril_indices(n, -1)]])

    def natural(self, covariance):
        """Covariance as a function of its elements, at this matrix."""
        n = len(covariance)
        where = np.zeros((n, n), int)
        where[np.triu_indices(n)] = np.arange(n * (n + 1) // 2)
        where = np.maximum(where, where.T)
        return _Jet.parameters(covariance[np.triu_indices(n)])[where]


@dataclass(frozen=True)
class _Patterned:
    """Standard deviations (one, or one a visit) and correlations that follow a pattern.

    ``pattern`` is toeplitz (one correlation a lag), exchangeable (one for all pairs) or
    autoregressive (rho to the power of the lag).
    """

    pattern: str
    heterogeneous: bool

    @property
    def linear(self):
        return not self.heterogeneous and self.pattern != "autoregressive"

    def _n_correlations(self, n):
        return n - 1 if self.pattern == "toeplitz" else min(n - 1, 1)

    def _n_sd(self, n):
        return n if self.heterogeneous else 1

    def n_parameters(self, n):
        return self._n_sd(n) + self._n_correlations(n)

    def free(self, phi, n):
        """Covariance from log standard deviations and transformed correlations."""
        phi = _Jet.parameters(phi)
        k = self._n_sd(n)
        return self._assemble(phi[:k].exp(), self._bounded(phi[k:], n), n)

    def _bounded(self, phi, n):
        if self.pattern == "toeplitz":
            return _levinson(phi.tanh())[1:]
        if self.pattern == "exchangeable":  # between -1 / (n - 1) and 1
            middle = 0.5 - 0.5 / (n - 1)
            return phi.tanh() * (1 - middle) + middle
        return phi.tanh()

    def _assemble(self, sd, correlation, n):
        where = np.arange(n) if self.heterogeneous else np.zeros(n, int)
        sd = sd[where]
        return self._correlation(correlation, n) * (sd[:, None] * sd[None, :])

    def _correlation(self, correlation, n):
        lags = _lags(n)
        if self.pattern == "autoregressive":
            rho = correlation.value
            down = [np.maximum(lags - i, 0) for i in (1, 2)]
            slope, curvature = lags * rho ** down[0], lags * (lags - 1) * rho ** down[1]
            return correlation[np.zeros((n, n), int)].apply(rho**lags, slope, curvature)
        with_one = _join([correlation.constant([1.0]), correlation])
        return with_one[lags if self.pattern == "toeplitz" else np.minimum(lags, 1)]

    def start(self, sd, correlation):
        n, k = len(sd), self._n_correlations(len(sd))
        logs = np.log(sd) if self.heterogeneous else np.log([np.sqrt(np.mean(sd**2))])
        if self.pattern == "exchangeable":
            middle = 0.5 - 0.5 / (n - 1)
            return np.append(logs, np.arctanh((correlation - middle) / (1 - middle)))
        return np.concatenate([logs, [np.arctanh(correlation)], np.zeros(k - 1)])

    def natural(self, covariance):
        """Covariance as a function of SAS's parameters, at this matrix.

        Linear structures: variance and covariances. Others: variances and correlations.
        """
        n, k = len(covariance), self._n_correlations(len(covariance))
        if self.linear:
            lags = _lags(n)
            where = lags if self.pattern == "toeplitz" else np.minimum(lags, 1)
            return _Jet.parameters(covariance[0, : k + 1])[where]
        variances = np.diag(covariance)[: self._n_sd(n)]
        first = covariance[0] / np.sqrt(covariance[0, 0] * np.diag(covariance))
        theta = _Jet.parameters(np.concatenate([variances, first[1 : k + 1]]))
        return self._assemble(theta[: len(variances)].sqrt(), theta[len(variances) :], n)


STRUCTURES = {
    "us": _Unstructured(),
    "toeph": _Patterned("toeplitz", True),
    "toep": _Patterned("toeplitz", False),
    "csh": _Patterned("exchangeable", True),
    "cs": _Patterned("exchangeable", False),
    "ar1h": _Patterned("autoregressive", True),
    "ar1": _Patterned("autoregressive", False),
}


# ---- the likelihood as a function of the covariance matrix


@dataclass(frozen=True)
class _State:
    """The likelihood's parts at one covariance matrix, in the working basis."""

    deviance: float  # -2 log-likelihood
    inverse: np.ndarray  # (n_patterns, n, n), zero where a visit was missed
    beta: np.ndarray  # (q,)
    phi: np.ndarray  # (q, q), inverse of X' V^-1 X
    slope: np.ndarray | None = None  # (n, n), of the deviance, entries taken as separate
    curvature: np.ndarray | None = None  # (n * n, n * n)
    between: np.ndarray | None = None  # (n * n, q + 1, q + 1): Z' V^-1 e_a e_b' V^-1 Z


class _Likelihood:
    """-2 log-likelihood, REML or ML, and its derivatives with respect to the covariance matrix.

    The design is orthonormal (``basis``) and the outcome is the standardised residual of least
    squares: the same model, with better numbers.

    Parameters
    ----------
    x : numpy.ndarray, shape (n_rows, q)
    y : numpy.ndarray, shape (n_rows,)
    rows : numpy.ndarray of int, shape (n_participants, n_visits)
        The row of each participant and visit, -1 where missing.
    reml : bool
    """

    def __init__(self, x, y, rows, reml):
        self.reml = reml
        self.n_rows, self.q = x.shape
        self.orthonormal, self.basis = np.linalg.qr(x)
        self.ols = np.linalg.solve(self.basis, self.orthonormal.T @ y)
        residual = y - x @ self.ols
        self.scale = np.sqrt(np.mean(residual**2))
        self.residual = residual / self.scale
        self.patterns, self.group = np.unique(rows >= 0, axis=0, return_inverse=True)
        self.counts = np.bincount(self.group)
        self.cross = self._cross_products(rows)

    def _cross_products(self, rows):
        """Sums of z_a z_b' over a pattern's participants, z = (x, y): (patterns, n, n, Q * Q)."""
        z = np.vstack([np.column_stack([self.orthonormal, self.residual]), np.zeros(self.q + 1)])
        n, size = rows.shape[1], self.q + 1
        sums = []
        for k in range(len(self.patterns)):
            own = z[rows[self.group == k]].reshape(-1, n * size)  # row -1 is the zeros
            cross = (own.T @ own).reshape(n, size, n, size)
            sums.append(cross.swapaxes(1, 2).reshape(n, n, size * size))
        return np.stack(sums)

    @cached_property
    def constant(self):
        """What the working units add to the deviance of the outcome's own units."""
        free = self.n_rows - self.q if self.reml else self.n_rows
        constant = free * np.log(2 * np.pi) + 2 * free * np.log(self.scale)
        if self.reml:
            constant += 2 * np.log(np.abs(np.diag(self.basis))).sum()
        return constant

    def solve(self, covariance):
        """Deviance and coefficients at a covariance matrix; raises LinAlgError if not positive."""
        both = self.patterns[:, :, None] & self.patterns[:, None, :]
        alone = ~self.patterns[:, :, None] * np.eye(len(covariance))
        padded = np.where(both, covariance, alone)
        root = np.linalg.cholesky(padded)
        inverse = np.where(both, np.linalg.inv(padded), 0.0)
        logs = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)
        total = (inverse.ravel() @ self.cross.reshape(inverse.size, -1)).reshape(
            self.q + 1, self.q + 1
        )
        information = total[:-1, :-1]
        phi = np.linalg.inv(information)
        beta = phi @ total[:-1, -1]
        deviance = 2 * self.counts @ logs + total[-1, -1] - total[:-1, -1] @ beta + self.constant
        if self.reml:
            deviance += 2 * np.log(np.diag(np.linalg.cholesky(information))).sum()
        return _State(deviance, inverse, beta, phi)

    def differentiate(self, covariance):
        """The same with derivatives."""
        state = self.solve(covariance)
        n, size = len(covariance), self.q + 1
        inverse, cross = state.inverse, self.cross
        outer = self._outer(state)
        spread = cross @ outer.ravel()  # sum of X phi X' + r r' by pattern
        middle = inverse @ spread @ inverse
        counted = self.counts[:, None, None] * inverse
        slope = (counted - middle).sum(0)
        curvature = (2 * middle - counted).reshape(-1, n * n).T @ inverse.reshape(-1, n * n)
        curvature = curvature.reshape(n, n, n, n).transpose(1, 2, 3, 0).reshape(n * n, n * n)
        left = (inverse @ cross.reshape(len(cross), n, -1)).reshape(cross.shape)
        between = (inverse[:, None] @ left).sum(0).reshape(n * n, size, size)
        return _State(state.deviance, inverse, state.beta, state.phi, slope, curvature, between)

    def _outer(self, state):
        contrast = np.append(-state.beta, 1.0)
        outer = np.outer(contrast, contrast)
        if self.reml:
            outer[:-1, :-1] += state.phi
        return outer

    def chain(self, state, covariance):
        """Gradient (K,) and Hessian (K, K) of the deviance in a structure's parameters.

        Parameters
        ----------
        state : _State
            From ``differentiate``.
        covariance : _Jet, shape (n, n)
        """
        k = covariance.first.shape[-1]
        jacobian = covariance.first.reshape(-1, k)
        slope = state.slope.ravel()
        hessian = jacobian.T @ state.curvature @ jacobian
        hessian = (hessian + hessian.T) / 2 + np.tensordot(
            slope, covariance.second.reshape(-1, k, k), 1
        )
        moments = np.tensordot(jacobian.T, state.between, 1)  # (K, q + 1, q + 1)
        shift = moments[:, :-1] @ np.append(-state.beta, 1.0)
        hessian -= 2 * shift @ state.phi @ shift.T
        if self.reml:
            inside = moments[:, :-1, :-1] @ state.phi
            hessian -= np.einsum("iab,jba->ij", inside, inside)
        return slope @ jacobian, hessian


# ---- Newton's method


def _minimise(likelihood, structure, start, visits):
    """Parameters at the maximum of the likelihood, by Newton's method with a line search.

    Returns
    -------
    (numpy.ndarray, int)
        Free parameters, number of iterations.

    Raises
    ------
    ConvergenceError
    """
    phi, n = start, len(visits)
    for iteration in range(1, 101):
        covariance = structure.free(phi, n)
        _check_regular(covariance.value, visits)
        state = likelihood.differentiate(covariance.value)
        gradient, hessian = likelihood.chain(state, covariance)
        step, convex = _newton_step(gradient, hessian)
        decrement = -gradient @ step
        if decrement < 1e-12:
            if not convex:
                raise ConvergenceError(
                    "the likelihood is flat: the data do not determine the covariance"
                )
            return phi + step, iteration
        phi = _line_search(likelihood, structure, phi, step, decrement, state.deviance, n)
    raise ConvergenceError(
        f"did not converge in 100 iterations (the deviance would still fall by {decrement:.2g})"
    )


def _newton_step(gradient, hessian):
    """Step downhill, no parameter by more than 2; whether the Hessian is positive definite."""
    values, vectors = np.linalg.eigh(hessian)
    largest = np.abs(values).max()
    usable = np.maximum(np.abs(values), 1e-8 * largest)
    step = -vectors @ ((vectors.T @ gradient) / usable)
    return step * min(1.0, 2 / np.abs(step).max(initial=1e-300)), values[0] > 1e-8 * largest


def _line_search(likelihood, structure, phi, step, decrement, deviance, n):
    if decrement < 1e-7:  # the difference is below the rounding of the deviance
        return phi + step
    for halvings in range(40):
        size = 0.5**halvings
        try:
            state = likelihood.solve(structure.free(phi + size * step, n).value)
        except np.linalg.LinAlgError:
            continue
        if state.deviance <= deviance - 1e-4 * size * decrement:
            return phi + size * step
    raise ConvergenceError("did not converge (no step lowers the deviance)")


def _check_regular(covariance, visits):
    """Refuse a covariance matrix that has run to the edge: outcomes of visits determine others."""
    sd = np.sqrt(np.diag(covariance))
    if sd.min() < 1e-6 or not np.isfinite(covariance).all():
        raise ConvergenceError(f"singular: the variance at visit {visits[sd.argmin()]!r} goes to 0")
    correlation = covariance / np.outer(sd, sd)
    if np.linalg.eigvalsh(correlation)[0] > 1e-7:
        return
    off = np.abs(correlation - np.eye(len(visits)))
    a, b = np.unravel_index(off.argmax(), off.shape)
    raise ConvergenceError(
        "singular: the covariance matrix loses rank; the correlation of visits "
        f"{visits[a]!r} and {visits[b]!r} is {correlation[a, b]:.4f}"
    )


# ---- from a table to numbers


@dataclass(frozen=True)
class _Design:
    """What a formula makes of a table."""

    used: pd.DataFrame  # the complete rows, factors as categoricals
    x: pd.DataFrame
    y: np.ndarray
    spec: object
    outcome: str
    subject: str
    visit: str
    visits: list
    factors: dict  # variable to levels, the visit among them where the formula has it
    numbers: list  # numeric variables
    rows: np.ndarray  # (n_participants, n_visits), row of x or -1
    n_dropped: int
    notes: tuple
    index: pd.Index  # of the rows used, as in the data


def _design(data, formula, subject, visit):
    left, right = _parse(formula, data)
    variables = sorted(left | right)
    _check_columns(data, variables, subject, visit)
    outcome = sorted(left)[0]
    table = data[list(dict.fromkeys([*variables, subject, visit]))].reset_index(drop=True)
    _check_keys(table, subject, visit)
    table = _as_factors(table, {v for v in variables if not _is_number(table[v])} | {visit})
    _check_numbers(table, outcome, variables)
    used, notes = _complete(table, variables, subject, visit)
    visits = list(used[visit].cat.categories)
    if len(visits) > MAX_VISITS:
        raise ValueError(
            f"column {visit!r}: at most {MAX_VISITS} visits expected, found {len(visits)} "
            f"({', '.join(map(str, visits))}): leave some out, or average neighbouring visits"
        )
    matrices = Formula(formula).get_model_matrix(used, na_action="raise")
    spec = matrices.rhs.model_spec
    factors = _factors(spec, used)
    y = matrices.lhs.to_numpy(float)[:, 0]
    _check_finite(matrices)
    _check_factors(used, spec, factors, y, subject, visit)
    rows = _row_numbers(used, subject, visit)
    numbers = [v for v in sorted(right) if v not in factors and _is_number(used[v])]
    dropped, index = len(table) - len(used), data.index[used.index]
    return _Design(
        used, matrices.rhs, y, spec, outcome, subject, visit, visits, factors, numbers, rows,
        dropped, notes, index,
    )  # fmt: skip


def _parse(formula, data):
    """Variables on the left and on the right of the tilde."""
    parsed = Formula(formula)
    left, right = getattr(parsed, "lhs", None), getattr(parsed, "rhs", None)
    if left is None or right is None or len(list(left)) != 1 or not list(right):
        raise ValueError(
            f"formula {formula!r}: one outcome, a tilde and terms expected, such as "
            "'change ~ baseline*visit + arm*visit'"
        )
    return _variables(left, data), _variables(right, data)


def _variables(side, data):
    """Variables of one side; formulaic 1.2 overlooks those inside center() and scale()."""
    words = {word for term in side for f in term.factors for word in re.findall(r"\w+", f.expr)}
    return {str(v) for v in side.required_variables} | (words & set(getattr(data, "columns", ())))


def _is_number(column):
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _check_columns(data, variables, subject, visit):
    if not isinstance(data, pd.DataFrame):
        raise TypeError(f"data: a pandas DataFrame expected, found {type(data).__name__}")
    wanted = {"subject": subject, "visit": visit} | {f"formula ({v})": v for v in variables}
    absent = [f"{name!r} ({role})" for role, name in wanted.items() if name not in data]
    if absent:
        raise ValueError(
            f"no column {', '.join(absent)} in the data; columns found: "
            f"{', '.join(map(str, data.columns))}"
        )
    if not data.columns.is_unique:
        twice = data.columns[data.columns.duplicated()].unique()
        raise ValueError(f"columns that occur twice: {', '.join(map(str, twice))}: rename one")


def _check_keys(table, subject, visit):
    for name in (subject, visit):
        if (empty := table[name].isna()).any():
            raise ValueError(
                f"column {name!r}: {empty.sum()} rows are empty (the first is row "
                f"{empty.idxmax() + 1} of the data); every row needs a participant and a visit"
            )
    twice = table[table.duplicated([subject, visit], keep=False)]
    if len(twice):
        who, when = twice.iloc[0][[subject, visit]]
        count = ((twice[subject] == who) & (twice[visit] == when)).sum()
        raise ValueError(
            f"participant {who!r} has {count} rows at visit {when!r}; one expected "
            f"({len(twice)} rows share their participant and visit with another): keep one of them"
        )


def _as_factors(table, names):
    """Words, truth values and the visit as categoricals; sorted levels where there is no order."""
    new = {}
    for name in names:
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            continue
        try:
            levels = sorted(column.dropna().unique())
        except TypeError:
            kinds = sorted({type(value).__name__ for value in column.dropna()})
            raise ValueError(
                f"column {name!r} mixes {' and '.join(kinds)}, which have no order: write all the "
                "same way, or make it a pandas categorical"
            ) from None
        new[name] = pd.Categorical(column, levels)
    return table.assign(**new)


def _check_numbers(table, outcome, variables):
    if not _is_number(table[outcome]):
        raise ValueError(f"outcome {outcome!r}: numbers expected, found {table[outcome].dtype}")
    for name in variables:
        if _is_number(table[name]) and np.isinf(table[name].to_numpy(float)).any():
            raise ValueError(f"column {name!r}: infinite values; write them as missing, or mend")


def _check_finite(matrices):
    for matrix in (matrices.lhs, matrices.rhs):
        bad = ~np.isfinite(matrix.to_numpy(float)).all(axis=0)
        if bad.any():
            raise ValueError(
                f"{', '.join(matrix.columns[bad])}: not a number in some rows after the formula's "
                "transformation, such as a logarithm of 0"
            )


def _complete(table, variables, subject, visit):
    """Rows without a missing value, and notes on what was left out; unused levels removed."""
    used = table[table[variables].notna().all(axis=1)]
    missing = {v: int(n) for v, n in table[variables].isna().sum().items() if n}
    words = ", ".join(f"{n} without {v}" for v, n in missing.items())
    gone = table[subject].nunique() - used[subject].nunique()
    people = f"; participants without a complete row: {gone}" if gone else ""
    notes = [f"{len(table) - len(used)} rows left out ({words}){people}"] if missing else []
    if used.empty:
        raise ValueError(f"no row is complete: of {len(table)} rows, {words}")
    unused = {}
    for name in table.columns:
        if name == subject or not isinstance(table[name].dtype, pd.CategoricalDtype):
            continue
        present, declared = set(used[name].unique()), table[name].cat.categories
        lost = [level for level in declared if level in set(table[name]) - present]
        if lost:
            raise ValueError(_lost_level(name, lost, name == visit, words))
        unused[name] = [level for level in declared if level not in present]
    notes += [f"{n}: no rows for {', '.join(map(str, lv))}" for n, lv in unused.items() if lv]
    used = used.assign(**{n: used[n].cat.remove_unused_categories() for n in unused})
    return used, tuple(notes)


def _lost_level(name, levels, is_visit, words):
    levels = ", ".join(map(repr, levels))
    what = "nobody was rated at" if is_visit else "nobody is left with"
    return (
        f"column {name!r}: {what} {levels} (rows left out: {words}). Take these rows out of the "
        "data before the fit, or complete them"
    )


def _factors(spec, used):
    """Variables that the formula takes as factors, with their levels, the reference first."""
    factors = {}
    for factor, contrasts in spec.factor_contrasts.items():
        names = [str(v) for v in spec.factor_variables[factor] if str(v) in used]
        factors |= {name: list(contrasts.levels) for name in names}
    return factors


def _check_factors(used, spec, factors, y, subject, visit):
    """Refuse levels about which the data cannot speak."""
    for name, levels in factors.items():
        if name == visit:
            continue
        if len(levels) == 1:
            raise ValueError(
                f"column {name!r} has one level only ({levels[0]!r}): nothing to compare; take it "
                "out of the formula"
            )
        column = used[name].to_numpy()
        crossed = _crossed(spec, name, visit)
        for level in levels:
            own = column == level
            what = f"column {name!r}, level {level!r}"
            _check_level(what, used.loc[own, subject].unique())
            _check_varies(what, y[own], used.loc[own, visit].cat.codes.to_numpy())
            if crossed:
                _check_attended(name, level, used, own, visit)


def _check_level(what, participants):
    if len(participants) < 2:
        raise ValueError(
            f"{what} occurs in one participant only ({participants[0]!r}): a comparison needs two "
            "or more; merge the level with another, or leave the participant or the column out"
        )


def _check_varies(what, y, visits):
    """Refuse a level in which all participants have the same outcome at every visit."""
    counts = np.bincount(visits)
    means = np.bincount(visits, y) / np.maximum(counts, 1)
    away = np.abs(y - means[visits]).max()
    if counts.max() > 1 and away <= 1e-12 * np.abs(y).max():
        raise ValueError(
            f"{what}: no variance, at each visit the outcome is the same in all participants (such "
            f"as {y[0]:g}); check the data, or leave this level out"
        )


def _check_attended(name, level, used, own, visit):
    lacking = sorted(set(used[visit].cat.categories) - set(used.loc[own, visit]), key=str)
    if lacking:
        raise ValueError(
            f"column {name!r}, level {level!r}: nobody was rated at visit "
            f"{', '.join(map(repr, lacking))}, so its effect there cannot be estimated; leave out "
            f"that visit, or the interaction of {name!r} with {visit!r}"
        )


def _crossed(spec, name, visit):
    """Whether a term of the formula holds both variables."""
    terms = ({str(v) for f in t.factors for v in spec.factor_variables[f]} for t in spec.terms)
    return any({name, visit} <= variables for variables in terms)


def _row_numbers(used, subject, visit):
    who, people = pd.factorize(used[subject])
    rows = np.full((len(people), len(used[visit].cat.categories)), -1)
    rows[who, used[visit].cat.codes] = np.arange(len(used))
    return rows


def _check_rank(x):
    """Refuse columns of the design that others determine."""
    values = x.to_numpy(float)
    norm = np.linalg.norm(values, axis=0)
    scaled = values / np.where(norm > 0, norm, 1.0)
    diagonal = np.zeros(scaled.shape[1])
    n = min(scaled.shape)
    diagonal[:n] = np.abs(np.diag(np.linalg.qr(scaled, mode="r")))[:n]
    if diagonal.min() > 1e-8:
        if len(values) <= x.shape[1]:
            raise ValueError(f"{len(values)} rows for {x.shape[1]} coefficients: too few to fit")
        return
    kept, extra = [], []
    for k, name in enumerate(x.columns):
        fuller = np.linalg.matrix_rank(scaled[:, [*kept, k]], tol=1e-7) > len(kept)
        kept, extra = ([*kept, k], extra) if fuller else (kept, [*extra, name])
    raise ValueError(
        f"the design has {x.shape[1]} columns and rank {len(kept)}: {', '.join(extra)} can be told "
        "from the columns before; take the terms out of the formula, or merge levels"
    )


# ---- fitting


def fit_mmrm(data, formula, subject, visit, covariance="us", df="kenward-roger", reml=True):
    """Fit a mixed model for repeated measures.

    Parameters
    ----------
    data : pandas.DataFrame
        One row a participant and visit. Rows in which the outcome or a covariate is missing are
        left out and counted; participants with some visits stay in.
    formula : str
        For formulaic, such as ``"change ~ baseline*visit + arm*visit"``. Words and truth values are
        factors; the reference level is the first category of a pandas categorical, else the first
        in sorted order.
    subject, visit : str
        Columns. The visit is always a factor, in the order of its categories, else sorted; one to
        eight visits. With one visit the model is an analysis of covariance.
    covariance : {"us", "toeph", "toep", "csh", "cs", "ar1h", "ar1"}
        Unstructured; Toeplitz; compound symmetry; first-order autoregressive. With h each visit has
        a variance of its own.
    df : {"kenward-roger", "satterthwaite"}
        Kenward-Roger as SAS's ``ddfm=kenwardroger``: W is the inverse of the observed Hessian, the
        adjustment is made in variances, covariances and correlations, with second derivatives.
    reml : bool
        Restricted maximum likelihood, else maximum likelihood (with Satterthwaite only).

    Returns
    -------
    MMRM

    Raises
    ------
    ValueError
        The data cannot answer: a column is absent, a level has one participant, columns of the
        design depend on each other, ... The message says which and what to do.
    ConvergenceError
        The covariance matrix cannot be estimated; see :func:`fit_with_fallback`.
    """
    _check_options(covariance, df, reml)
    design = _design(data, formula, subject, visit)
    _check_rank(design.x)
    likelihood = _Likelihood(design.x.to_numpy(float), design.y, design.rows, reml)
    try:
        return _fit(design, likelihood, formula, covariance, df)
    except (ConvergenceError, np.linalg.LinAlgError) as error:
        raise ConvergenceError(
            f"MMRM {formula!r} with covariance {covariance!r}: {error}. Try a covariance with "
            f"fewer parameters ({SIMPLER}), or fewer visits"
        ) from error


def fit_with_fallback(data, formula, subject, visit, df="kenward-roger", reml=True, order=FALLBACK):
    """Fit with the first covariance structure that converges: us, toeph, csh, cs.

    Parameters
    ----------
    data, formula, subject, visit, df, reml
        As in :func:`fit_mmrm`.
    order : sequence of str
        Structures to try in turn.

    Returns
    -------
    MMRM
        ``covariance_structure`` says which was used, ``fallback_reason`` why not an earlier one
        (None if it was the first).

    Raises
    ------
    ConvergenceError
        None converged; the message has the reason of each.
    """
    reasons = []
    for covariance in order:
        try:
            fit = fit_mmrm(data, formula, subject, visit, covariance, df, reml)
        except ConvergenceError as error:
            reasons.append(f"{covariance}: {error.__cause__}")
            continue
        fit.fallback_reason = "; ".join(reasons) or None
        return fit
    raise ConvergenceError(f"MMRM {formula!r}: no covariance converged. {'; '.join(reasons)}")


def _check_options(covariance, df, reml):
    if covariance not in STRUCTURES:
        raise ValueError(f"covariance {covariance!r}: one of {', '.join(STRUCTURES)} expected")
    if df not in DF_METHODS:
        raise ValueError(f"df {df!r}: one of {', '.join(DF_METHODS)} expected")
    if df == "kenward-roger" and not reml:
        raise ValueError("Kenward-Roger needs REML: say reml=True, or df='satterthwaite'")


def _fit(design, likelihood, formula, covariance, df):
    n = len(design.visits)
    structure = STRUCTURES["us" if n == 1 else covariance]  # one visit: one variance
    sd = _residual_sd(likelihood, design.rows)
    _check_identified(design, likelihood, structure, sd)
    start = structure.start(np.maximum(sd, 0.01), _mean_correlation(likelihood, design.rows))
    free, iterations = _minimise(likelihood, structure, start, design.visits)
    estimate = structure.free(free, n).value
    _check_regular(estimate, design.visits)
    state = likelihood.differentiate(estimate)
    natural = structure.natural(estimate)
    _, hessian = likelihood.chain(state, natural)
    try:
        linalg.cho_factor(hessian)
    except np.linalg.LinAlgError:
        raise ConvergenceError("did not converge: the Hessian is not positive definite") from None
    weights = 2 * np.linalg.inv(hessian)  # the deviance is twice the negative log-likelihood
    return MMRM(design, likelihood, state, estimate, natural, weights, iterations, formula,
                covariance, df)  # fmt: skip


def _residual_sd(likelihood, rows):
    """Standard deviation at each visit of the residuals of least squares, in working units."""
    residual = np.append(likelihood.residual, np.nan)[rows]
    return np.sqrt(np.nanmean(residual**2, axis=0))


def _check_identified(design, likelihood, structure, sd):
    """Refuse what cannot be estimated."""
    if not likelihood.scale > 1e-10 * np.abs(design.y).max(initial=0):
        raise ConvergenceError("singular: the fixed effects fit every outcome exactly")
    separate = isinstance(structure, _Unstructured) or structure.heterogeneous
    if separate and sd.min() < 1e-7:
        raise ConvergenceError(
            "singular: the fixed effects fit every outcome of visit "
            f"{design.visits[sd.argmin()]!r} exactly, so it has no variance"
        )
    if isinstance(structure, _Unstructured):
        _check_pairs(design)


def _check_pairs(design):
    seen = design.rows >= 0
    for a, b in combinations(range(len(design.visits)), 2):
        if (count := int((seen[:, a] & seen[:, b]).sum())) < 2:
            raise ConvergenceError(
                f"visits {design.visits[a]!r} and {design.visits[b]!r} share {count} participants, "
                "so their covariance cannot be estimated"
            )


def _mean_correlation(likelihood, rows):
    """Correlation of residuals between neighbouring visits, kept away from the edges."""
    residual = np.append(likelihood.residual, np.nan)[rows]
    left, right = residual[:, :-1], residual[:, 1:]
    both = np.isfinite(left * right)
    if not both.any():
        return 0.3
    left, right = left[both], right[both]
    power = np.sqrt((left @ left) * (right @ right))
    return float(np.clip(left @ right / power if power else 0.0, 0.05, 0.9))


# ---- the fitted model


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
        subject, visit, raw, pearson (raw over the visit's standard deviation) and normalized
        (raw by the inverse Cholesky factor of the participant's covariance), for each row used,
        with the index of the data.
    fitted : pandas.Series
    covariance_structure : str
    fallback_reason : str or None
    n_participants, n_rows, n_dropped, n_parameters, iterations : int
        n_dropped: rows left out since the outcome or a covariate is missing; n_parameters: of the
        covariance.
    notes : tuple of str
        What was left out of the data.
    """

    def __init__(
        self, design, likelihood, state, estimate, natural, weights, iterations, formula,
        covariance, df,
    ):  # fmt: skip
        self._design, self._likelihood, self._state = design, likelihood, state
        self._working, self._natural, self._weights = estimate, natural, weights
        self.formula, self.df_method, self.reml = formula, df, likelihood.reml
        self.covariance_structure, self.fallback_reason = covariance, None
        self.iterations, self.n_dropped, self.notes = iterations, design.n_dropped, design.notes
        self.n_participants, self.n_rows = len(design.rows), len(design.y)
        self.n_parameters = len(weights)
        self.subject, self.visit, self.visits = design.subject, design.visit, list(design.visits)

    def __repr__(self):
        what = f"{self.n_participants} participants, {self.n_rows} rows, {len(self.visits)} visits"
        return f"<MMRM {self.formula!r}, {self.covariance_structure}, {what}>"

    # -- estimates

    @property
    def deviance(self):
        return float(self._state.deviance)

    @property
    def loglik(self):
        return -self.deviance / 2

    @property
    def aic(self):
        return self.deviance + 2 * self.n_parameters

    @property
    def bic(self):
        return self.deviance + np.log(self.n_participants) * self.n_parameters

    @property
    def terms(self):
        return pd.Index(self._design.x.columns, name="term")

    @cached_property
    def covariance(self):
        index = pd.Index(self.visits, name=self.visit)
        matrix = self._likelihood.scale**2 * self._working
        return pd.DataFrame(matrix, index, index.rename(None))

    @cached_property
    def coefficients(self):
        table = self.estimates(np.eye(len(self.terms))).drop(columns=["ci_low", "ci_high"])
        return table.set_axis(self.terms)

    @cached_property
    def vcov(self):
        return self._in_terms(self._adjusted)

    @cached_property
    def vcov_unadjusted(self):
        return self._in_terms(self._state.phi)

    def _in_terms(self, working):
        back = np.linalg.inv(self._likelihood.basis) * self._likelihood.scale
        return pd.DataFrame(back @ working @ back.T, self.terms, self.terms.rename(None))

    @cached_property
    def _beta(self):
        change = np.linalg.solve(self._likelihood.basis, self._state.beta)
        return self._likelihood.ols + self._likelihood.scale * change

    # -- Kenward-Roger

    @cached_property
    def _moments(self):
        """X' V^-1 (dV/d theta_k) V^-1 X, (K, q, q): -P_k of Kenward & Roger."""
        jacobian = self._natural.first.reshape(-1, self.n_parameters)
        return np.tensordot(jacobian.T, self._state.between[:, :-1, :-1], 1)

    @cached_property
    def _adjusted(self):
        """Phi + 2 phi {sum W_ij (Q_ij - P_i phi P_j - R_ij / 4)} phi of Kenward & Roger."""
        phi, weights, moments = self._state.phi, self._weights, self._moments
        if self.df_method != "kenward-roger":
            return phi
        second = np.tensordot(self._natural.second, weights, 2).ravel()
        r = np.tensordot(second, self._state.between[:, :-1, :-1], 1)
        mixed = np.tensordot(weights, moments, 1)
        ppp = (mixed @ phi @ moments).sum(0)
        middle = self._q_sum() - ppp - r / 4
        adjusted = phi + 2 * phi @ middle @ phi
        return (adjusted + adjusted.T) / 2

    def _q_sum(self):
        """Sum of W_ij X' V^-1 V_i V^-1 V_j V^-1 X over parameters and participants."""
        likelihood, inverse = self._likelihood, self._state.inverse
        n, q = len(self.visits), likelihood.q
        jacobian = self._natural.first.reshape(-1, self.n_parameters)
        spread = (jacobian @ self._weights @ jacobian.T).reshape(n, n, n, n)
        inner = np.einsum("abcd,pbc->pad", spread, inverse)
        weight = inverse @ inner @ inverse
        total = weight.ravel() @ likelihood.cross.reshape(weight.size, -1)
        return total.reshape(q + 1, q + 1)[:-1, :-1]

    # -- inference

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
            No usable degrees of freedom: the message says which row.
        """
        rows = self._rows(contrasts)
        working = np.linalg.solve(self._likelihood.basis.T, rows.T).T
        variance = np.einsum("ri,ij,rj->r", working, self._adjusted, working)
        se = self._likelihood.scale * np.sqrt(np.maximum(variance, 0))
        df = self._single_df(working)
        bad = ~((se > 0) & np.isfinite(df) & (df > 0))
        if bad.any():
            raise ValueError(self._unusable(rows[bad.argmax()]))
        estimate = rows @ self._beta
        margin = stats.t.ppf((1 + level) / 2, df) * se
        t = estimate / se
        return pd.DataFrame(
            {
                "estimate": estimate,
                "se": se,
                "df": df,
                "ci_low": estimate - margin,
                "ci_high": estimate + margin,
                "t": t,
                "p": 2 * special.stdtr(df, -np.abs(t)),
            }
        )

    def _rows(self, contrasts):
        if isinstance(contrasts, (pd.Series, dict)):
            contrasts = pd.DataFrame([contrasts])
        if isinstance(contrasts, pd.DataFrame):
            unknown = [c for c in contrasts if c not in self.terms]
            if unknown:
                raise ValueError(f"no term {', '.join(map(repr, unknown))}: {list(self.terms)}")
            contrasts = contrasts.reindex(columns=list(self.terms), fill_value=0.0)
        rows = np.atleast_2d(np.asarray(contrasts, float))
        if rows.shape[1] != len(self.terms) or not rows.any(axis=1).all():
            raise ValueError(
                f"contrasts: rows of {len(self.terms)} weights, not all 0, expected (one for each "
                f"of {', '.join(self.terms)}), found shape {rows.shape}"
            )
        return rows

    def _single_df(self, working):
        """Degrees of freedom 2 v^2 / var(v); Kenward-Roger and Satterthwaite agree for one row."""
        phi = self._state.phi
        reach = working @ phi
        variance = np.einsum("ri,ri->r", reach, working)
        slope = np.einsum("ri,kij,rj->rk", reach, self._moments, reach, optimize=True)
        spread = np.einsum("rk,kl,rl->r", slope, self._weights, slope)
        with np.errstate(divide="ignore", invalid="ignore"):
            return 2 * variance**2 / spread

    def _unusable(self, row):
        weights = ", ".join(f"{w:g} {term}" for w, term in zip(row, self.terms, strict=True) if w)
        return (
            f"{self.df_method} gives no usable standard error or degrees of freedom for the "
            f"contrast {weights}: too few participants ({self.n_participants}) for "
            f"{self.n_parameters} covariance parameters; use a simpler covariance"
        )

    def test(self, contrasts):
        """Test that all rows of ``contrasts`` times the coefficients are 0.

        Kenward-Roger: F scaled by lambda, with the degrees of freedom of Kenward & Roger (1997).
        Satterthwaite: Fai & Cornelius (1996), as R's mmrm and lmerTest do.

        Parameters
        ----------
        contrasts : array_like, shape (r, q)
            As in :meth:`estimates`; rows must be linearly independent.

        Returns
        -------
        pandas.Series
            num_df, den_df, F, p.
        """
        rows = self._rows(contrasts)
        if np.linalg.matrix_rank(rows) < len(rows):
            raise ValueError("contrasts: rows depend on each other; leave the redundant ones out")
        working = np.linalg.solve(self._likelihood.basis.T, rows.T).T
        value = rows @ self._beta / self._likelihood.scale
        kenward = self.df_method == "kenward-roger"
        statistic, df = (self._kr_f if kenward else self._fai_cornelius)(working, value)
        if not (np.isfinite(statistic) and df > 0):
            raise ValueError(self._unusable(rows[0]))
        p = stats.f.sf(statistic, len(rows), df)
        return pd.Series({"num_df": len(rows), "den_df": df, "F": statistic, "p": p})

    def _kr_f(self, working, value):
        phi, n = self._state.phi, len(working)
        f = value @ np.linalg.solve(working @ self._adjusted @ working.T, value) / n
        root = np.linalg.cholesky(working @ phi @ working.T)
        reach = np.linalg.solve(root, working @ phi)
        spread = reach @ self._moments @ reach.T
        traces = np.trace(spread, axis1=1, axis2=2)
        a1 = traces @ self._weights @ traces
        a2 = np.einsum("kl,kij,lji->", self._weights, spread, spread, optimize=True)
        df, scale = _kr_scale(n, a1, a2)
        return scale * f, df

    def _fai_cornelius(self, working, value):
        values, vectors = np.linalg.eigh(working @ self._state.phi @ working.T)
        squares = (vectors.T @ value) ** 2 / values
        nu = self._single_df(vectors.T @ working)
        n = len(nu)
        if np.ptp(nu) < 1e-8:
            return squares.mean(), nu.mean()
        if (nu <= 2).any():
            return squares.mean(), 2.0
        e = (nu / (nu - 2)).sum()
        return squares.mean(), 2 * e / (e - n)

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

        Returns
        -------
        pandas.DataFrame
            arm, visit, mean, se, df, ci_low, ci_high; arms in the order of their levels, then
            visits in order.
        """
        arms = self._arms(arm)
        keys, rows = self._grid(arm, arms, self._by_visit(visit))
        table = self.estimates(rows, level).rename(columns={"estimate": "mean"})
        return pd.concat([keys, table.drop(columns=["t", "p"])], axis=1)

    def contrasts(self, arm, reference=None, by="visit", level=0.95):
        """Differences of least-squares means between arms.

        Hedges g is the difference over the model's standard deviation at that visit (averaged over
        visits: the root of the mean variance), times J(df). Its interval is that of the population
        value: the noncentrality parameters at which the observed t is the upper and lower limit
        (Steiger & Fouladi 1997; Cumming & Finch 2001, Educ Psychol Meas 61:532-574), times
        se / SD. It is exact for one visit and, unlike the interval of the difference divided by
        the SD, knows that the SD is estimated. J corrects the estimate's bias, not the limits.

        Parameters
        ----------
        arm : str
            Column of the arms, or one of its levels (then only that one is compared).
        reference : optional
            Level that the others are compared with; default: the reference of the formula.
        by : str or None
            The visit's column (or the word visit); None averages over visits, equal weights.
        level : float

        Returns
        -------
        pandas.DataFrame
            visit, contrast, estimate, se, df, ci_low, ci_high, t, p, hedges_g, g_ci_low, g_ci_high,
            in visit order.
        """
        column, others, reference = self._comparison(arm, reference)
        keys, rows = self._grid(column, [*others, reference], self._by_visit(by))
        visits = list(keys["visit"].unique())
        rows = rows.reshape(len(others) + 1, len(visits), -1)
        difference = (rows[:-1] - rows[-1]).swapaxes(0, 1).reshape(-1, rows.shape[-1])
        labels = [(v, f"{other} - {reference}") for v in visits for other in others]
        table = self.estimates(difference, level)
        sd = [self._sd(v if self._by_visit(by) else None) for v, _ in labels]
        keys = pd.DataFrame(labels, columns=["visit", "contrast"])
        return pd.concat([keys, table, _hedges(table, np.array(sd), level)], axis=1)

    def _sd(self, visit):
        variances = np.diag(self.covariance)
        return np.sqrt(variances.mean() if visit is None else variances[self.visits.index(visit)])

    def _by_visit(self, name):
        if name not in (None, "visit", self.visit):
            raise ValueError(f"visit {name!r}: {self.visit!r} or None expected")
        return name is not None

    def _arms(self, arm):
        design = self._design
        if arm in design.factors and arm != self.visit:
            return design.factors[arm]
        values = sorted(design.used[arm].unique()) if arm in design.numbers else []
        if len(values) == 2:
            return values
        known = [name for name in design.factors if name != self.visit]
        raise ValueError(f"arm {arm!r}: a factor of the formula expected ({', '.join(known)})")

    def _comparison(self, arm, reference):
        """Column of the arms, levels to compare, reference level."""
        design, others = self._design, None
        if arm not in [*design.factors, *design.numbers]:
            holders = [n for n, lv in design.factors.items() if arm in lv and n != self.visit]
            if len(holders) == 1:
                arm, others = holders[0], [arm]
        levels = self._arms(arm)
        reference = levels[0] if reference is None else reference
        if reference not in levels:
            raise ValueError(f"reference {reference!r}: one of {levels} ({arm}) expected")
        others = others or [level for level in levels if level != reference]
        if others == [reference]:
            raise ValueError(f"arm and reference are both {reference!r}: nothing to compare")
        return arm, others, reference

    def _grid(self, arm, arms, by_visit):
        """Arms and visits, and the rows of weights that give their least-squares means."""
        design = self._design
        fixed = {arm: arms, self.visit: self.visits}
        rest = {n: levels for n, levels in design.factors.items() if n not in fixed}
        grid = pd.DataFrame(product(*fixed.values(), *rest.values()), columns=[*fixed, *rest])
        numbers = [n for n in design.numbers if n not in fixed]
        grid = grid.assign(**{n: float(design.used[n].mean()) for n in numbers})
        for name in fixed | rest:
            if isinstance(design.used[name].dtype, pd.CategoricalDtype):
                grid[name] = pd.Categorical(grid[name], design.used[name].cat.categories)
        rows = design.spec.get_model_matrix(grid, na_action="raise").to_numpy(float)
        rows = rows.reshape(len(arms), len(self.visits), -1, rows.shape[1]).mean(2)
        if not by_visit:
            rows = rows.mean(1, keepdims=True)
        visits = self.visits if by_visit else ["all"]
        keys = pd.DataFrame(product(arms, visits), columns=["arm", "visit"])
        return keys, rows.reshape(-1, rows.shape[-1])

    # -- residuals

    @cached_property
    def fitted(self):
        values = self._design.x.to_numpy(float) @ self._beta
        return pd.Series(values, self._design.index, name="fitted")

    @cached_property
    def residuals(self):
        raw = self._design.y - self.fitted.to_numpy()
        covariance, rows = self.covariance.to_numpy(), self._design.rows
        codes = self._design.used[self.visit].cat.codes
        normalized = np.empty_like(raw)
        likelihood = self._likelihood
        for k, pattern in enumerate(likelihood.patterns):
            own = rows[likelihood.group == k][:, pattern]
            root = np.linalg.cholesky(covariance[np.ix_(pattern, pattern)])
            normalized[own] = linalg.solve_triangular(root, raw[own].T, lower=True).T
        table = self._design.used[[self.subject, self.visit]].set_axis(self._design.index)
        pearson = raw / np.sqrt(np.diag(covariance))[codes]
        return table.assign(raw=raw, pearson=pearson, normalized=normalized)

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


def _kr_scale(n, a1, a2):
    """Degrees of freedom and scale of F (Kenward & Roger 1997, section 3)."""
    if n == 1:
        return 2 / a2, 1.0
    b = (a1 + 6 * a2) / (2 * n)
    g = ((n + 1) * a1 - (n + 4) * a2) / ((n + 2) * a2)
    below = 3 * n + 2 * (1 - g)
    c1, c2, c3 = g / below, (n - g) / below, (n + 2 - g) / below
    mean = 1 / (1 - a2 / n)
    variance = 2 / n * (1 + c1 * b) / ((1 - c2 * b) ** 2 * (1 - c3 * b))
    rho = variance / (2 * mean**2)
    df = 4 + (n + 2) / (n * rho - 1)
    return df, df / (mean * (df - 2))


def _hedges(table, sd, level):
    """Hedges g and its interval; ``table`` has estimate, se, df and t."""
    t, df, se = (table[c].to_numpy() for c in ("t", "df", "se"))
    size, tail = np.abs(t), (1 - level) / 2
    low, high = (special.nctdtrinc(df, p, size) for p in (1 - tail, tail))
    low, high = np.where(t < 0, -high, low), np.where(t < 0, -low, high)
    g = table["estimate"].to_numpy() / sd * hedges_correction(df)
    return pd.DataFrame({"hedges_g": g, "g_ci_low": low * se / sd, "g_ci_high": high * se / sd})
