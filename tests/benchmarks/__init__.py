"""What is measured and not asserted: each module prints a table. `python -m tests.benchmarks.NAME` runs one."""
