"""One GET to its answer: connections, proxies, TLS, redirects, and what may be said of a URL."""
