"""A fitted model once more, for other participants of the same design: simulated trials, fast.

No formula is read and no table built: the rows of the design matrix are those of the participants
drawn.
"""

from dataclasses import replace

import numpy as np

from trialmmrm.checks import check_rank
from trialmmrm.errors import ConvergenceError
from trialmmrm.fitted_model import MMRM
from trialmmrm.fitting import _estimate
from trialmmrm.likelihood import Likelihood
from trialmmrm.lsmeans import difference_rows
from trialmmrm.structures import FALLBACK


class Refits:
    """The model of a fit, to be fitted to participants drawn from it, with new outcomes.

    Parameters
    ----------
    fit : MMRM
    arm, reference : str
        Column and level of the arms, as for :meth:`MMRM.contrasts`.
    """

    def __init__(self, fit, arm, reference):
        keys, rows = difference_rows(fit._design, arm, reference, fit.visit)
        self.visits, self.df, self.reml = list(keys["visit"]), fit.df_method, fit.reml
        self.formula, self.contrasts, self.covariance = fit.formula, rows, fit.covariance.to_numpy()
        design = fit._design
        first = design.rows.max(axis=1)
        self.arms = design.used[arm].astype(str).to_numpy()[first]
        # What a fit asks of a design; the formula and the table stay here.
        self._design = replace(design, used=None, spec=None, index=None)

    @property
    def rated(self):
        """Whether each participant was rated at each visit, (n_participants, n_visits)."""
        return self._design.rows >= 0

    def test(self, people, outcomes, visit):
        """The difference between the arms at a visit, if these participants had these outcomes.

        Parameters
        ----------
        people : numpy.ndarray of int
            (n,), positions of participants, in the order of ``arms``, with repeats.
        outcomes : numpy.ndarray
            (n, n_visits); used where the participant was rated.
        visit : str

        Returns
        -------
        numpy.ndarray
            Estimate, standard error, degrees of freedom, with the first covariance structure that
            converges; NaN where none does, or the design leaves no estimate.
        """
        design, weights = self._drawn(people, outcomes), self.contrasts[self.visits.index(visit)]
        for structure in FALLBACK:
            try:
                check_rank(design.x)
                likelihood = Likelihood(design.x.to_numpy(), design.y, design.rows, self.reml)
                found = _estimate(design, likelihood, structure)
                fit = MMRM(design, found[0], self.formula, structure, self.df, found[1])
                return fit.estimates(weights)[["estimate", "se", "df"]].to_numpy(float)[0]
            except (ConvergenceError, np.linalg.LinAlgError, ValueError):
                continue
        return np.full(3, np.nan)

    def _drawn(self, people, outcomes):
        source = self._design.rows[people]
        rated, rows = source >= 0, np.full(source.shape, -1)
        rows[rated] = np.arange(rated.sum())
        x = self._design.x.iloc[source[rated]].reset_index(drop=True)
        return replace(self._design, x=x, y=np.asarray(outcomes, float)[rated], rows=rows)
