"""Where vectors and what is known of their files live: one protocol, two engines."""
