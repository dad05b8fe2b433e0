"""Live vital signs of how customers are treated when something breaks."""
