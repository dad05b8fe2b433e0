"""What a worker tells Prometheus: counts, never ratios, with whose they are and how fresh they are beside them."""
