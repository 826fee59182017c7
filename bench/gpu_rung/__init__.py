"""The ladder's top rung: what only a card can show, most valuable first, in six minutes.

``make gpu-pack`` (pack.py, wheels.py) writes one archive; ``make gpu`` unpacks it on a machine with a card
(start_here.py) and runs the steps of steps.py, each a process of its own (rung.py). A step is one module
with one idea, and keeps its figures in a file as it goes (step_report.py). The same steps run without a card
on the CPU execution of the kernel: tests/gpu/dry_run.py.
"""
