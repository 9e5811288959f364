"""Random changes of whole batches, on the device that holds them; what each sample gets is drawn from its own seed."""

from .artefacts import RandBiasFieldBatchd, RandBlurBatchd, RandGibbsBatchd, RandNoiseBatchd
from .batches import Augmentation, BatchTransform, RandBatchTransform
from .contrast import NonNegativeBatchd, RandContrastCurveBatchd, RandGammaBatchd, RandScaleBatchd
from .geometry import CentralCropBatchd, RandAffineBatchd, RandFlipBatchd

__all__ = [
    "Augmentation",
    "BatchTransform",
    "CentralCropBatchd",
    "NonNegativeBatchd",
    "RandAffineBatchd",
    "RandBatchTransform",
    "RandBiasFieldBatchd",
    "RandBlurBatchd",
    "RandContrastCurveBatchd",
    "RandFlipBatchd",
    "RandGammaBatchd",
    "RandGibbsBatchd",
    "RandNoiseBatchd",
    "RandScaleBatchd",
]
