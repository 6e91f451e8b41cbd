"""What ``mux init`` writes. Each folder is a whole project that works as it is."""
