"""Training of ternary networks with torch. Never imported at inference."""
