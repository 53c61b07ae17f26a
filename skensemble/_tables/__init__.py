"""Raw tables as arrays: what columns hold, and what networks are given of them."""
