"""Published video and vision methods as Hugging Face models.

Importing this package registers every method with transformers' Auto classes, so that
`AutoModel.from_pretrained("org/asm-loc-thumos")` and `pipeline("temporal-action-localization", ...)` work.
"""

from .__about__ import __version__
from .auto import AutoModelForTemporalActionLocalization, register_all
from .configuration.configuration_asm_loc import AsmLocConfig
from .modeling.modeling_asm_loc import AsmLocForTemporalActionLocalization, AsmLocOutput
from .processing.processing_asm_loc import AsmLocProcessor

__all__ = [
    "AsmLocConfig",
    "AsmLocForTemporalActionLocalization",
    "AsmLocOutput",
    "AsmLocProcessor",
    "AutoModelForTemporalActionLocalization",
    "__version__",
]

register_all()
