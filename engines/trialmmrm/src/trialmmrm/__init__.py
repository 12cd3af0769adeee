"""Mixed models for repeated measures (MMRM): what SAS PROC MIXED and R's mmrm give, in Python.

The outcomes of a participant are normal with mean X beta and a covariance matrix over visits that
all participants share. There are no random effects: the covariance is modelled itself, by one of
seven structures. Missed visits are left out, which is valid when data are missing at random.

``fit_mmrm``
    Fit one model with one covariance structure.
``fit_with_fallback``
    The same with the first structure that converges.
``MMRM``
    What both return: coefficients, least-squares means, contrasts, tests, residuals.
``Refits``
    The model of a fit for participants drawn from it: simulated trials, fast.
``ConvergenceError``
    The data do not determine the covariance.
``STRUCTURES``, ``DF_METHODS``
    The covariance structures, by name, and the names of the methods for degrees of freedom.

Sources: Mallinckrodt et al. 2008, Drug Inf J 42:303-319; Kenward & Roger 1997, Biometrics
53:983-997; Kenward & Roger 2009, Comput Stat Data Anal 53:2583-2595; Fai & Cornelius 1996, J Stat
Comput Simul 54:363-378; SAS/STAT User's Guide, The MIXED Procedure; Sabanes Bove et al., R package
mmrm; Lenth, R package emmeans.
"""

from trialmmrm.errors import ConvergenceError
from trialmmrm.fallback import fit_with_fallback
from trialmmrm.fitted_model import MMRM
from trialmmrm.fitting import DF_METHODS, fit_mmrm
from trialmmrm.refitting import Refits
from trialmmrm.structures import STRUCTURES

__all__ = [
    "DF_METHODS",
    "MMRM",
    "STRUCTURES",
    "ConvergenceError",
    "Refits",
    "fit_mmrm",
    "fit_with_fallback",
]
