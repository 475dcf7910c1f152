"""Real Hub traffic through the real Toxiproxy: scenario -> toxics -> contender -> Outcome -> report."""
