"""What upstream teams are offered: checks of their events, a way to send them, the contract as others read it."""
