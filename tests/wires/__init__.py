"""The loader on real sockets, against the local Hub."""
