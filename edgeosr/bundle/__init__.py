"""The bundle: its directory, its manifest, and each record beside its reader."""
