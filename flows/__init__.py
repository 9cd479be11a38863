"""Wiring only: the graph, the settings, the worker and the command line."""
