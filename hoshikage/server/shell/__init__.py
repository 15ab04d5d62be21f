"""What stands between a socket and a route: limits, deadlines, who may ask, and an answer in JSON whatever happens."""
