"""What those who run the service ask of it: is all well (doctor), what topics are to be made, how far is the group."""
