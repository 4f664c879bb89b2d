"""Version 1 of the snapshot trigger: frozen, because migration 0002 names it for ever.

A change of the trigger is a new version beside this one, and a migration that installs
it; never edit what is here once it is released.
"""
