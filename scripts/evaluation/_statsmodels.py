"""The parts of statsmodels used here; it comes with the extra ``study``."""

from importlib.util import find_spec

from ..errors import InputError

if find_spec("statsmodels") is None:
    raise InputError("these statistics need statsmodels; install it with `pip install -e '.[study]'`")

from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import ttest_power
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

__all__ = ["GLM", "Binomial", "PerfectSeparationWarning", "multipletests", "ttest_power"]
