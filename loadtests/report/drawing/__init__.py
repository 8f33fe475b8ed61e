"""Charts as data, and the SVG that they become."""
