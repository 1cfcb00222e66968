"""The evaluation transform and the accuracies against PyTorch's."""

import numpy as np
import pytest
from PIL import Image
from torch_comparison import randomise, save_state
from torch_networks import torch_network
from torch_transform import torch_transform

import jaxinterp
from jaxinterp.data.evaluation_crop import evaluation_crop
from jaxinterp.data.source import read_labelled_images
from jaxinterp.evaluate.run import evaluate
from jaxinterp.models.preprocess import IMAGENET

torch = pytest.importorskip("torch", reason="needs PyTorch: run `make parity`")

pytestmark = pytest.mark.parity


def picture(width, height, seed):
    """Smooth shapes with sharp edges and some noise: what resampling can get wrong."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [
        np.sin(columns * random.uniform(0.01, 0.9) + rows * random.uniform(-0.9, 0.9))
        for _ in range(3)
    ]
    pixels = 127 + 90 * np.stack(waves, -1) + random.normal(0, 12, (height, width, 3))
    pixels[rows > columns * height / width] //= 2
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


SIZES = [
    *((256, 256), (500, 375), (375, 500), (500, 333), (257, 259), (259, 257), (1024, 31)),
    *((224, 224), (100, 80), (640, 427), (427, 641), (300, 1200), (256, 300), (301, 256)),
]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_the_transform_gives_torchvision_s_values(size):
    image = picture(*size, seed=sum(size))
    crop = evaluation_crop(image, resize=IMAGENET.resize, size=IMAGENET.size)
    found = np.asarray(IMAGENET(crop.astype(np.float32) / 255))
    expected = torch_transform(image, IMAGENET).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(500, 375), (640, 427), (301, 290), (100, 80)])
def test_the_resampling_is_pytorch_s_antialiased_one(size):
    """Pillow and PyTorch round differently, by one level of 255."""
    image = picture(*size, seed=sum(size))
    width, height = size
    scaled = (int(256 * width / height), 256)
    values = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        values, scaled[::-1], mode="bilinear", antialias=True, align_corners=False
    )[0]
    top, left = round((256 - 224) / 2), round((scaled[0] - 224) / 2)
    expected = resized[:, top : top + 224, left : left + 224].permute(1, 2, 0).numpy()
    found = evaluation_crop(image, resize=256, size=224)
    assert np.abs(found - expected).max() <= 1.01
    assert np.abs(found - expected).mean() < 0.4


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet18"])
def test_accuracies_are_pytorch_s(name, tmp_path):
    """Random weights; the labels are PyTorch's first, third and eighth guesses in turn."""
    classes, count = 10, 24
    network = randomise(torch_network(name, classes=classes))
    save_state(network, tmp_path / "weights.safetensors")
    ported = jaxinterp.load(name, weights=tmp_path / "weights.safetensors", classes=classes)

    pictures = [picture(40 + 7 * i, 90 - 2 * i, seed=i) for i in range(count)]
    batch = torch.stack([torch_transform(image, ported.preprocess) for image in pictures])
    with torch.no_grad():
        order = network(batch).argsort(dim=1, descending=True, stable=True)
    labels = [int(order[i, [0, 2, 7][i % 3]]) for i in range(count)]
    for i, (label, image) in enumerate(zip(labels, pictures, strict=True)):
        path = tmp_path / "images" / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    found = evaluate(ported, read_labelled_images(str(tmp_path / "images")), batch_size=7)
    assert (found.top1.successes, found.top5.successes) == (count // 3, 2 * count // 3)
    for own in found.classes:
        mine = [i for i in range(count) if labels[i] == own.index]
        assert own.top1.images == len(mine)
        assert own.top1.successes == sum(i % 3 == 0 for i in mine)
        assert own.top5.successes == sum(i % 3 != 2 for i in mine)
