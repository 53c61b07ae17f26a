"""Fitted estimators and pipelines outside of Python: ONNX graphs, C files, torch modules."""

from skensemble.deploy.c import export_c
from skensemble.deploy.modules import as_module, coded_rows
from skensemble.deploy.onnx import export_onnx, register_converters

__all__ = ["as_module", "coded_rows", "export_c", "export_onnx", "register_converters"]
