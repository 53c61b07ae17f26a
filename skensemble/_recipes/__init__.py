"""What a user's net says: a module, how it is trained, and what is put around it."""
