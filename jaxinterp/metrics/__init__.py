"""Measures of an interpretation."""

from jaxinterp.metrics.agreement import Agreement as Agreement, agreement as agreement
from jaxinterp.metrics.artefact import (
    grid_share as grid_share,
    phase_variation as phase_variation,
)
from jaxinterp.metrics.conservation import conservation_error as conservation_error
from jaxinterp.metrics.detector_effects import (
    DetectorEffects as DetectorEffects,
    detector_effects as detector_effects,
)
from jaxinterp.metrics.error import mse_rest as mse_rest, mse_selected as mse_selected
from jaxinterp.metrics.similarity import (
    correlation as correlation,
    map_similarity as map_similarity,
    similarity_name as similarity_name,
    ssim as ssim,
)
