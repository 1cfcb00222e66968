"""Attribution: what in an image made a network answer as it did."""

from jaxinterp.attribution import lrp as lrp
from jaxinterp.attribution.backward import Backward as Backward, backward as backward
from jaxinterp.attribution.conductance import (
    LayerAttributions as LayerAttributions,
    conductance as conductance,
)
from jaxinterp.attribution.grad_cam import grad_cam as grad_cam
from jaxinterp.attribution.gradient import (
    deconvnet as deconvnet,
    gradient as gradient,
    guided_backprop as guided_backprop,
)
from jaxinterp.attribution.integrated_gradients import (
    IntegratedGradients as IntegratedGradients,
    integrated_gradients as integrated_gradients,
)
from jaxinterp.attribution.layer_integrated_gradients import (
    layer_integrated_gradients as layer_integrated_gradients,
)
from jaxinterp.attribution.seeds import (
    Seed as Seed,
    kernel_map as kernel_map,
    kernel_sum as kernel_sum,
    logit as logit,
    probability as probability,
    unit as unit,
)
from jaxinterp.attribution.smooth_grad import smooth_grad as smooth_grad
