"""A plugin package of a stranger, installed by tests/test_stranger.py as a user would install it."""
