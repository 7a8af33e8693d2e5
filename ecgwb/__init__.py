"""ecgwb."""
