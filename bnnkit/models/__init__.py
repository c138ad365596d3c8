"""Network architectures, one file each, registered by name."""

from bnnkit.models import mlp, resnet, vgg9
from bnnkit.models.base import MODELS, Model, ModelEntry, Settings, create_model

__all__ = ["MODELS", "Model", "ModelEntry", "Settings", "create_model", "mlp", "resnet", "vgg9"]
