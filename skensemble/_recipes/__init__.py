"""What a user's net says: everything needed to build and train one network."""
