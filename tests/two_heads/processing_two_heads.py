"""The processor of the toy method."""

from transformers import TorchvisionBackend
from transformers.image_utils import PILImageResampling

from hf_vidmodels.processing.processing_base import SharedProcessorMixin


class TwoHeadsImageProcessor(SharedProcessorMixin, TorchvisionBackend):
    resample = PILImageResampling.BILINEAR
    size = {"height": 8, "width": 8}
    do_resize = True
    do_rescale = True
    do_convert_rgb = True
