"""Run folders filled by hand: no network, no optimisation, the package's own store."""

import numpy as np

from jaxinterp.data.images import ImagesConfig
from jaxinterp.sweep.config import LayerConfig, RunConfig
from jaxinterp.sweep.plan import plan_of
from jaxinterp.sweep.store import ArraySpec, RunFolder

KERNELS = {"relu1": [3, 0, 7], "relu2": [5, 1]}
IMAGES = {"cat": "c" * 64, "dog": "d" * 64}
JOBS = 10
"""Six of relu1, four of relu2."""

IMAGE, TRACE = (4, 4, 3), (5, 4)


def config(output, **changes):
    settings = {
        "output": str(output),
        "layers": tuple(map(LayerConfig, KERNELS)),
        "images": ImagesConfig(size=4, all_colours=True),
        "title": "A run",
    }
    return RunConfig(**(settings | changes))


def plan(own=None, kernels=KERNELS):
    return plan_of(own or config("any"), "tiny", "w" * 64, kernels, list(IMAGES.values()))


def manifest(**changes):
    return {
        "created": "2020-02-02T02:02:02+00:00",
        "model": "tiny",
        "weights_sha256": "w" * 64,
        "images": IMAGES,
        "kernels": KERNELS,
    } | changes


def specs(dtype="float32"):
    return {"images": ArraySpec(IMAGE, dtype), "traces": ArraySpec(TRACE)}


def image(index):
    """Different for every job, in [0, 1]."""
    return np.random.default_rng(index).random(IMAGE, np.float32)


def arrays(indices):
    traces = [np.full(TRACE, index, np.float32) for index in indices]
    return {"images": np.stack([image(i) for i in indices]), "traces": np.stack(traces)}


def record(index, status="done", **more):
    job = plan()[index]
    value = 0.1 * index if status == "done" else None
    names = ("similarity", "similarity_blank", "mse_selected", "loss", "steps")
    names += ("mse_rest", "mse_rest_original", "mse_rest_blank")
    return {
        "index": index,
        "id": job.id,
        "layer": job.layer,
        "kernel": job.kernel,
        "image": list(IMAGES)[job.image],
        "status": status,
        "similarity_is": "ssim",
        **dict.fromkeys(names, value),
        **more,
    }


def write(results, indices, status="done"):
    if len(indices):
        results.write(indices, arrays(indices), [record(i, status) for i in indices])


def fill(output, indices, *, dtype="float32", process=0, processes=1, **changes):
    """A run folder with some jobs done."""
    folder = RunFolder(config(output, **changes), process=process, processes=processes)
    with folder:
        folder.write_manifest(manifest())
        with folder.results(plan(), specs(dtype)) as results:
            write(results, indices)


def chunk(folder, name, index):
    """The file of a job's chunk."""
    return folder / f"{name}.zarr" / f"c.{index}{'.0' * len(specs()[name].shape)}"
