"""Detection and segmentation on any backbone."""
from __future__ import annotations

from .backbone import Pyramid, create_backbone, freeze
from .detector import DETECTION_HEADS, create_detector
from .evaluation import DenseEvaluation, evaluate, find_unreadable
from .export import export_onnx
from .saving import load, save
from .segmenter import SEGMENTATION_HEADS, Segmenter, create_segmenter

__all__ = ['DETECTION_HEADS', 'DenseEvaluation', 'SEGMENTATION_HEADS', 'Pyramid', 'Segmenter', 'create_backbone',
           'create_detector', 'create_segmenter', 'evaluate', 'export_onnx', 'find_unreadable', 'freeze', 'load',
           'save']
