"""Layer-wise relevance propagation: rules, composites and the pass itself."""

from jaxinterp.attribution.lrp import rules as rules
from jaxinterp.attribution.lrp.composites import (
    epsilon_alpha2_beta1_flat as epsilon_alpha2_beta1_flat,
    epsilon_everywhere as epsilon_everywhere,
    epsilon_gamma_box as epsilon_gamma_box,
    epsilon_plus_flat as epsilon_plus_flat,
)
from jaxinterp.attribution.lrp.relevance import Relevance as Relevance, lrp as lrp
