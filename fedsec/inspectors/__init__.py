"""What strategies set to look into models: each joins a defense's functions to a network and public images."""
