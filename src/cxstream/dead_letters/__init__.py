"""What operators do with dead letters: list them, look into one, send them again, put them aside."""
