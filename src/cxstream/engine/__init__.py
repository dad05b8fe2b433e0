"""The pure engine: facts in, published verdicts, changes, ledger and relays out; the clock is an argument."""
