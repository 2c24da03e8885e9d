"""Published video and vision methods as Hugging Face models.

Importing this package registers every method with transformers' Auto classes, so that
`AutoModel.from_pretrained("org/asm-loc-thumos")` and `pipeline("temporal-action-localization", ...)` work. Our own
Auto classes, such as `AutoModelForMaskLabeling`, are names of this package too; they follow from the rows of
`tasks.TASKS`.
"""

from .__about__ import __version__
from .auto import OWN_AUTO_CLASSES, register_all
from .configuration.configuration_asm_loc import AsmLocConfig
from .configuration.configuration_l2_caf import L2CafConfig
from .configuration.configuration_mal import MalConfig
from .configuration.configuration_stts import SttsConfig
from .modeling.modeling_asm_loc import AsmLocForTemporalActionLocalization, AsmLocOutput
from .modeling.modeling_l2_caf import L2CafExplanation, L2CafForObjectLocalization, L2CafOutput
from .modeling.modeling_mal import MalForMaskLabeling, MalOutput
from .modeling.modeling_stts import SttsForVideoClassification, SttsOutput
from .processing.processing_asm_loc import AsmLocProcessor
from .processing.processing_l2_caf import L2CafImageProcessor
from .processing.processing_mal import MalImageProcessor
from .processing.processing_stts import SttsVideoProcessor

globals().update(OWN_AUTO_CLASSES)
__all__ = ["__version__", *sorted(name for name in globals() if name[0].isupper() and name != "OWN_AUTO_CLASSES")]

register_all()
