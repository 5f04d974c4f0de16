"""The web tier: the form and every page a person sees, and the JSON API that programs speak."""
