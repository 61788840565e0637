"""Pictures and texts as unit vectors of one space: CLIP and its family."""

from runtime.encoder.batches import FloatArray
from runtime.encoder.dual_encoder import DualEncoder, EncodedImage
from runtime.encoder_config import EncoderConfig

__all__ = ["DualEncoder", "EncodedImage", "EncoderConfig", "FloatArray"]
