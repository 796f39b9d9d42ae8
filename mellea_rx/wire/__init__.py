"""HTTP and the formats on it: transports, decoders without I/O, errors of servers, redaction."""
