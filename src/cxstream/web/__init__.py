"""The worker's own HTTP: metrics, probes, and the page that says what is here."""
