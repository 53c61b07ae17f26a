"""What a fit has done so far, in a folder: trees of tensors and plain values, nothing executed."""
