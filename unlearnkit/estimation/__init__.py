"""Predictions, bounds and their constants: pure numerics over arrays, without torch."""

from unlearnkit.estimation.bound import Bound as Bound
from unlearnkit.estimation.convergence import Convergence as Convergence
from unlearnkit.estimation.cubic import NO_CUBIC as NO_CUBIC
from unlearnkit.estimation.cubic import CubicForm as CubicForm
from unlearnkit.estimation.prediction import Prediction as Prediction
from unlearnkit.estimation.prediction import Term as Term
from unlearnkit.estimation.projection import DirectionSource as DirectionSource
from unlearnkit.estimation.projection import Projection as Projection
from unlearnkit.estimation.reverse import ReverseSketch as ReverseSketch
from unlearnkit.estimation.rounding import Differences as Differences
from unlearnkit.estimation.sketch import Sketch as Sketch
from unlearnkit.estimation.solo import SoloSeries as SoloSeries
