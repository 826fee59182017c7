"""How a program of ours begins and ends: its streams, its exit codes, and what it says of failures."""
