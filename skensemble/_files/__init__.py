"""Files that hold estimators: tensors and JSON, nothing executed."""
