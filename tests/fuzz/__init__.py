"""Made-up and damaged input for what reads clients' replies and people's configurations."""
