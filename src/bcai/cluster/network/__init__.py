"""A whole network on this machine: starts gateway, scheduler and nodes, and keeps them running."""
