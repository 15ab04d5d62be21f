"""Questions about speed, one per file: `make bench`, or `pytest bench/bench_step.py`. Answers go to bench/results/."""
