"""Units turned off by edits against PyTorch's forward hooks, on thinned networks."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jaxinterp.methods.ablation import Ablator, ablate
from jaxinterp.methods.ablation_layers import ablatable_layers
from jaxinterp.methods.ablation_plan import plan_ablations
from jaxinterp.models.alexnet import AlexNet
from jaxinterp.models.resnet import RESNETS, ResNet
from jaxinterp.models.vgg import VGG, VGG_BLOCKS

torch = pytest.importorskip("torch", reason="needs PyTorch: run `make parity`")

from thin_pairs import thin_pair  # noqa: E402
from torch_comparison import channels_first  # noqa: E402

pytestmark = pytest.mark.parity

CLASSES = 11
THIN = dataclasses.replace(RESNETS["resnet18"], width=8, group_width=8)
THIN_BLOCKS = [[width // 8 for width in block] for block in VGG_BLOCKS["vgg11"]]
# An eighth as wide as published; the images' side.
NETWORKS = {
    "vgg11": (functools.partial(VGG, THIN_BLOCKS, batch_norm=False, hidden=(512, 512)), 32),
    "alexnet": (functools.partial(AlexNet, widths=(8, 24, 48, 32, 32), hidden=512), 67),
    "resnet18": (functools.partial(ResNet, THIN), 33),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, tmp_path_factory):
    """PyTorch's network, ours with the same weights, images, and a plan for random relevance."""
    construct, side = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp("weights")
    theirs, ours = thin_pair(request.param, construct, CLASSES, folder)
    random = np.random.default_rng(1)
    images = random.normal(size=(3, side, side, 3)).astype(np.float32)
    relevance = {
        name: random.random((ours.layers.find(name).channels, CLASSES))
        for name in ablatable_layers(ours)
    }
    plan = plan_ablations(relevance, (0.05, 0.2), 1, key=jax.random.key(0), targets=[3])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield theirs, ours, images, plan
    torch.set_num_threads(threads)


def torch_logits(network, ours, images, off):
    """With the channels `off` set to zero by forward hooks; float64."""
    modules, handles = dict(network.named_modules()), []
    for name, channels in off.items():
        row = ours.layers.find(name)
        module = modules[row.name if row.name in modules else row.alias]

        def silence(module, inputs, output, channels=channels):
            output = output.clone()
            output[:, channels] = 0
            return output

        handles.append(module.register_forward_hook(silence))
    try:
        with torch.no_grad():
            return network.double()(channels_first(images.astype(np.float64))).numpy()
    finally:
        network.float()
        for handle in handles:
            handle.remove()


def test_logits_and_outcomes_equal_pytorchs(case):
    theirs, ours, images, plan = case
    labels = np.array([3, 0, 7])
    outcomes = Ablator(ours, plan.keep, variants_at_once=3)(images, labels)
    double = {name: np.asarray(value, np.float64) for name, value in ours.params.items()}
    with jax.enable_x64(True):
        ablated = jax.jit(
            ablate(ours, plan.keep), compiler_options={"xla_backend_optimization_level": 0}
        )
        found = [
            np.asarray(
                ablated(
                    double,
                    images.astype(np.float64),
                    {name: mask[v] for name, mask in plan.keep.items()},
                )
            )
            for v in range(len(plan.variants))
        ]
    for v, logits in enumerate(found):
        off = {name: np.flatnonzero(~mask[v]) for name, mask in plan.keep.items()}
        expected = torch_logits(theirs, ours, images, off)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
        chances = torch.softmax(torch.from_numpy(expected), 1).numpy()[range(3), labels]
        np.testing.assert_allclose(outcomes.probability[v], chances, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(outcomes.correct[v], expected.argmax(1) == labels)
    # Every ablation changes something.
    assert min(np.abs(logits - found[0]).max() for logits in found[1:]) > 1e-3
