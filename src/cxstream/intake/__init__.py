"""Takes events from topics that are not ours: re-keys and maps records by a declared map, and sends what they tell."""
