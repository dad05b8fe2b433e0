"""Real workers on real brokers, and what can happen to them: after every fault the figures must be judge's."""
