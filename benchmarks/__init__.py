"""What the worker costs: permanent scenario names, medians of several runs, figures of the runs' own reports."""
