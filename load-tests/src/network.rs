//! A network between a device and the gateway, without one: what becomes of the n-th datagram is decided by a seed, the
//! direction and n, and by nothing else.
