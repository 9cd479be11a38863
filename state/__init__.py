"""What survives a restart or crosses a wire: batches, tables, journal, models, names and Redis keys."""
