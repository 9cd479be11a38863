"""One file per step, in the order of the path; plain classes and functions over arrays that know no engine."""
