"""Command line: parse, build settings, call one function, print one result."""
