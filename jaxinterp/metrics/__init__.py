"""Measures of an interpretation."""

from jaxinterp.metrics.error import mse_rest as mse_rest, mse_selected as mse_selected
from jaxinterp.metrics.similarity import (
    correlation as correlation,
    map_similarity as map_similarity,
    similarity_name as similarity_name,
    ssim as ssim,
)
