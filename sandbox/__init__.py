"""A stand-in for Replicate's HTTP API: real answers and pictures, scriptable faults, a count of all it was asked."""
