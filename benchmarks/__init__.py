"""What an event costs: the floor, the pure core, the whole job, and other engines round the same core."""
