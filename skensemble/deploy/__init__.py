"""Fitted estimators and pipelines outside of Python: ONNX graphs, C files, torch modules."""

from skensemble.deploy.onnx import export_onnx, register_converters

__all__ = ["export_onnx", "register_converters"]
