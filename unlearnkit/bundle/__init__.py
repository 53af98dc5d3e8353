"""Sketch bundles: their files, their directions, their pseudonyms. Without torch."""

from unlearnkit.bundle.bundle import INFORMED_START as INFORMED_START
from unlearnkit.bundle.bundle import Bundle as Bundle
from unlearnkit.bundle.directions import Directions as Directions
from unlearnkit.bundle.directions import direction_key as direction_key
from unlearnkit.bundle.directions import random_directions as random_directions
from unlearnkit.bundle.directions import salt_from_checkpoint as salt_from_checkpoint
from unlearnkit.bundle.directions import salt_from_seed as salt_from_seed
from unlearnkit.bundle.manifest import InformedDirections as InformedDirections
from unlearnkit.bundle.manifest import Manifest as Manifest
from unlearnkit.bundle.manifest import SoloUnits as SoloUnits
from unlearnkit.bundle.manifest import SweptProbe as SweptProbe
from unlearnkit.bundle.pseudonym import PseudonymKey as PseudonymKey
from unlearnkit.bundle.reverse import RANGE as RANGE
from unlearnkit.bundle.reverse import RESIDUAL as RESIDUAL
from unlearnkit.bundle.solo import SoloSketch as SoloSketch
from unlearnkit.bundle.tensors import complex_numbers as complex_numbers
from unlearnkit.bundle.tensors import real_pairs as real_pairs
from unlearnkit.bundle.writer import sign_bundle as sign_bundle
from unlearnkit.bundle.writer import write_bundle as write_bundle
