"""Everything generated from the catalogue: recording rules, the inventory of metrics, the reference of vital signs."""
