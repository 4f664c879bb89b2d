"""Kills, races, full disks: `make torture` runs these, and no other target but the short form."""
