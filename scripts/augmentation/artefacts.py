"""What scanners add to a picture: shading, blur, ringing and noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.polynomial.legendre import legvander
from scipy.special import erf
from torch.nn.functional import conv2d

from ..transforms import to_device
from .batches import Floats, RandBatchTransform

TRUNCATED = 4.0
"""Standard deviations at which a Gaussian kernel ends."""


class RandBiasFieldBatchd(RandBatchTransform):
    """Multiply an image by a smooth field: the exponential of a sum of Legendre polynomials.

    Args:
        keys: of images ``(N, C, H, W)``.
        prob: probability.
        coeff_range: smallest and largest coefficient.
        degree: highest degree of the products of polynomials.

    Source: MONAI's ``RandBiasField``, after Van Leemput et al. 1999, doi:10.1109/42.811270.
    """

    def __init__(
        self, keys: str | Sequence[str], prob: float, coeff_range: Sequence[float] = (0.0, 0.1), degree: int = 3
    ) -> None:
        super().__init__(keys, prob)
        low, high = coeff_range
        self.coeff_range = (float(low), float(high))
        self.degree = int(degree)

    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw the coefficients ``(degree + 1, degree + 1)``; those above the diagonal are 0."""
        coefficients = np.zeros((self.degree + 1, self.degree + 1))
        places = np.tril_indices(self.degree + 1)
        coefficients[places] = generator.uniform(*self.coeff_range, len(places[0]))
        return coefficients

    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Multiply by the field."""
        along_rows, along_columns = (
            to_device(torch.from_numpy(legvander(np.linspace(-1, 1, int(n)), self.degree)).float(), image.device)
            for n in image.shape[2:]
        )
        return image * (along_rows @ drawn @ along_columns.T).exp()[:, None]


class RandBlurBatchd(RandBatchTransform):
    """Smooth an image with a Gaussian, zero outside.

    Args:
        keys: of images ``(N, C, H, W)``.
        prob: probability.
        sigma_x: smallest and largest standard deviation along rows' index, in pixels.
        sigma_y: the same along columns' index.

    Source: MONAI's ``RandGaussianSmooth``.
    """

    def __init__(
        self, keys: str | Sequence[str], prob: float, sigma_x: Sequence[float], sigma_y: Sequence[float]
    ) -> None:
        super().__init__(keys, prob)
        self.sigma_x, self.sigma_y = tuple(sigma_x), tuple(sigma_y)
        self.radius = gaussian_tail(max(*self.sigma_x, *self.sigma_y))

    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw a kernel for each axis, ``(2, K)``."""
        return np.stack([self.kernel(generator.uniform(low, high)) for low, high in (self.sigma_x, self.sigma_y)])

    def kernel(self, sigma: float) -> Floats:
        """Return the Gaussian's integral over each pixel, cut off where it is small, ``(K,)``."""
        offset = np.arange(-self.radius, self.radius + 1)
        ends = [erf((offset + end) / (np.sqrt(2) * sigma)) for end in (0.5, -0.5)]
        return np.where(abs(offset) <= gaussian_tail(sigma), (ends[0] - ends[1]) / 2, 0)

    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Filter along rows' index, then along columns'; every channel of every sample is a group of its own."""
        channels = int(image.shape[1])
        weights = drawn.repeat_interleave(channels, dim=0)[:, :, None]
        flat = image.reshape(1, -1, *image.shape[2:])
        flat = conv2d(flat, weights[:, 0, ..., None], padding=(self.radius, 0), groups=flat.shape[1])
        flat = conv2d(flat, weights[:, 1, :, None], padding=(0, self.radius), groups=flat.shape[1])
        return flat.view(image.shape)


def gaussian_tail(sigma: float) -> int:
    """Return how many pixels a Gaussian kernel reaches to either side."""
    return int(max(TRUNCATED * sigma, 0.5) + 0.5)


class RandGibbsBatchd(RandBatchTransform):
    """Cut off the high frequencies of an image, so that edges ring.

    Args:
        keys: of images ``(N, C, H, W)``.
        prob: probability.
        alpha: smallest and largest share of the frequencies that is cut off, from 0 to 1.

    Source: MONAI's ``RandGibbsNoise``.
    """

    def __init__(self, keys: str | Sequence[str], prob: float, alpha: Sequence[float]) -> None:
        super().__init__(keys, prob)
        low, high = alpha
        self.alpha = (float(low), float(high))

    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw the square of the radius within which frequencies stay."""
        radius = (1 - generator.uniform(*self.alpha)) * max(shape[1:]) / np.sqrt(2)
        return np.array(radius**2)

    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Cut off what lies outside."""
        rows, columns = ((torch.arange(n, device=image.device) - (n - 1) / 2) ** 2 for n in image.shape[2:])
        kept = rows[:, None] + columns[None] <= drawn[:, None, None]
        kept = torch.fft.ifftshift(kept, dim=(1, 2))
        cut: torch.Tensor = torch.fft.ifft2(torch.fft.fft2(image) * kept[:, None]).real
        return cut


class RandNoiseBatchd(RandBatchTransform):
    """Add Gaussian noise to an image.

    Args:
        keys: of images ``(N, C, H, W)``.
        prob: probability.
        std: largest standard deviation; each sample's is drawn from 0 to this.
    """

    def __init__(self, keys: str | Sequence[str], prob: float, std: float) -> None:
        super().__init__(keys, prob)
        self.std = float(std)

    def draw(self, generator: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
        """Draw the noise of every pixel, on the CPU, so that it is the same on every device."""
        std = np.float32(generator.uniform(0, self.std))
        return std * generator.standard_normal(shape, dtype=np.float32)

    def change(self, image: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Add it."""
        return image + drawn
