"""One GET to its answer: connections, proxies, TLS, redirects, and the parts of a URL that may be shown."""
