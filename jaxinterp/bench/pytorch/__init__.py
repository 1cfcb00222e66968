"""The suppression method in PyTorch, on this library's weights. The only code that imports it."""

# pyright: reportMissingImports=false

from jaxinterp.bench.pytorch.device import flops_of, torch_device
from jaxinterp.bench.pytorch.networks import torch_features
from jaxinterp.bench.pytorch.search import TorchSearch, Variant

__all__ = ["TorchSearch", "Variant", "flops_of", "torch_device", "torch_features"]
