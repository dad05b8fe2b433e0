"""Offline drivers: the production core on files, without a broker."""
