"""Network architectures, one file each, registered by name."""

from bnnkit.models import cnv, fracbnn, low_precision_resnet, mlp, reactnet, resnet, vgg7, vgg9
from bnnkit.models.base import BIT_SERIAL, MODELS, Family, Model, ModelEntry, Settings, create_model, parse_options

__all__ = [
    "BIT_SERIAL",
    "MODELS",
    "Family",
    "Model",
    "ModelEntry",
    "Settings",
    "cnv",
    "create_model",
    "fracbnn",
    "low_precision_resnet",
    "mlp",
    "parse_options",
    "reactnet",
    "resnet",
    "vgg7",
    "vgg9",
]
