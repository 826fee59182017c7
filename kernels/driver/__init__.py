"""The CUDA driver through cuda-python, one idea a module.

calls (and their errors), memory, streams, graphs, driver (``Driver``: all of them, devices and launches),
arrays (of other libraries, where they lie).
"""
