"""Measurements, one script per question; `make bench` runs them all and prints one table. README.md says how."""
