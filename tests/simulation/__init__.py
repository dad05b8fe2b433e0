"""A deterministic simulator: real workers on a virtual clock and an in-memory Kafka, with faults drawn from a seed."""
