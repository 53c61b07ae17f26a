"""Fitted estimators as modules and graphs that run elsewhere."""
