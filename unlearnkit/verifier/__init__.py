"""Predictions from sketches: pure numerics over arrays, without torch."""

from unlearnkit.verifier.adjoint import AdjointSketch as AdjointSketch
from unlearnkit.verifier.prediction import Prediction as Prediction
from unlearnkit.verifier.prediction import Sketch as Sketch
from unlearnkit.verifier.prediction import Term as Term
from unlearnkit.verifier.projection import DirectionSource as DirectionSource
from unlearnkit.verifier.projection import Projection as Projection
