"""THE DOORS: one module for each system outside. They raise `imagejobs.errors`; their libraries never leave them."""
