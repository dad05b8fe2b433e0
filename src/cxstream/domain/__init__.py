"""The pure core: facts, cases, folding, seals, verdicts, policy and event-time windows; no I/O, no clock."""
