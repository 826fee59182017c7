"""The kernel's source, the compilers that take it, and which build a device gets."""
