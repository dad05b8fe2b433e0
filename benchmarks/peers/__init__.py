"""Other engines round the same core: each keeps the case records in its own state store and changelog."""
