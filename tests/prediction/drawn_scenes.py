"""Scenes of toy land, written as files, and a network that sees just so far."""

import numpy as np
import rasterio
import torch
from rasterio.transform import Affine
from scipy.ndimage import gaussian_filter
from torch import nn

from terraloom.predicting import predict_scene
from terraloom.segmenters._face import Segmenter
from terraloom.testing import toy_classes

UTM = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_300_000.0)
DRAWN = {"low": 0, "high": 255}


class NearNetwork(Segmenter):
    """Random convolutions over two scales, stride 4: sees 22 pixels far, and no farther."""

    def __init__(self):
        torch.manual_seed(3)
        super().__init__(nn.Identity(), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 32)

        def block(inputs, outputs, stride=1):
            layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
            nn.init.kaiming_normal_(layer.weight)
            return nn.Sequential(layer, nn.ReLU())

        self.fine = block(3, 8)
        self.coarse = nn.Sequential(block(8, 8, 2), block(8, 8, 2), block(8, 8))
        self.up = nn.Upsample(scale_factor=4, mode="nearest")
        self.head = nn.Conv2d(16, 4, 3, padding=1)

    def forward(self, images):
        fine = self.fine((images - self.mean) / self.std)
        return self.head(torch.cat([fine, self.up(self.coarse(fine))], dim=1))


def smooth_scene(height, width, seed=0, sigma=12.0):
    """Land that changes gradually between the toy colours, uint8 "height width 3"."""
    random = np.random.default_rng(seed)
    fields = np.stack(
        [gaussian_filter(random.normal(size=(height, width)), sigma) for _ in range(4)]
    )
    shares = np.exp(3 * fields / fields.std())
    shares /= shares.sum(axis=0)
    mixed = np.moveaxis(shares, 0, -1) @ np.array(toy_classes().colours, dtype=float)
    grain = random.normal(0, 4, size=mixed.shape)
    return np.clip(mixed + grain, 1, 255).round().astype(np.uint8)


def write(path, image, *, crs="EPSG:32636", transform=UTM, nodata=None, **options):
    """A GeoTIFF of an image "height width band"."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=image.shape[2],
        height=image.shape[0],
        width=image.shape[1],
        dtype=image.dtype,
        crs=crs,
        transform=None if transform is None else Affine(*transform),
        nodata=nodata,
        **options,
    ) as file:
        file.write(np.moveaxis(image, -1, 0))
    return path


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def predicted(segmenter, image, folder, name="scene", **options):
    """The map of an image, as an array."""
    scene = write(folder / f"{name}.tif", image)
    out = folder / f"{name}-map.tif"
    predict_scene(segmenter, toy_classes(), [scene], out, overwrite=True, **DRAWN, **options)
    return read(out)


def virtual(path, *bands):
    """A virtual raster of bands, each a GDAL type and a file of one band."""
    told = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{number}"><SimpleSource><SourceFilename '
        f'relativeToVRT="1">{name}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for number, (kind, name) in enumerate(bands, start=1)
    )
    path.write_text(f'<VRTDataset rasterXSize="50" rasterYSize="40">{told}</VRTDataset>')
    return path
