"""The face of the house: the `timmy` command line, settings, the supervisor of a whole node, doctor, backup.

Owns processes and files of a node's data folder, not what is in them. May touch every other room; none touches it.
"""
