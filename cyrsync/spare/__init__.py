"""Making a server of a replica, on the machine that it lies on."""
