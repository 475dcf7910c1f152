"""The models of PHAITA (pre-hospital AI triage). Not a medical device."""
