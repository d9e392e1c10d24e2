"""Detection and segmentation on any backbone."""
from __future__ import annotations

from .backbone import Pyramid, create_backbone, freeze
from .detector import DETECTION_HEADS, create_detector
from .export import export_onnx
from .saving import load, save
from .segmenter import SEGMENTATION_HEADS, Segmenter, create_segmenter

__all__ = ['DETECTION_HEADS', 'SEGMENTATION_HEADS', 'Pyramid', 'Segmenter', 'create_backbone', 'create_detector',
           'create_segmenter', 'export_onnx', 'freeze', 'load', 'save']
