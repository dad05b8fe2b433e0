"""The one-command tour: embedded broker, simulated upstream, live view."""
