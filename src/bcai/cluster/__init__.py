"""A network of processes: the store, the scheduler, the gateway and the nodes."""
