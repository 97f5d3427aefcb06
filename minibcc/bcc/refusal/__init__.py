"""A refused program, told in the lines of its C; see `report`."""
