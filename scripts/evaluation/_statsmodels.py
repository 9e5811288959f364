"""The parts of statsmodels used here; it comes with the extra ``study``."""

from importlib.util import find_spec

from ..errors import InputError

if find_spec("statsmodels") is None:
    raise InputError("these statistics need statsmodels; install it with `pip install -e '.[study]'`")

from statsmodels.genmod.families import Binomial as Binomial
from statsmodels.genmod.generalized_linear_model import GLM as GLM
from statsmodels.stats.multitest import multipletests as multipletests
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning as PerfectSeparationWarning
