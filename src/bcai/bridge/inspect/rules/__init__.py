"""What inspection looks for, one file per family; catalogue.py lists every rule."""
