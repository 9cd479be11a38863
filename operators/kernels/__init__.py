"""Compiled loops: pure functions over arrays, each beside the plain reference the tests hold it against."""
