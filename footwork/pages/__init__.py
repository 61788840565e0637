"""What is written for the eye: pages and cards, from Jinja2 templates."""
