"""Set-ups that several groups of tests share: servers, proxies, files, the environment of child processes."""
