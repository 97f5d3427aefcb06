"""What an instruction is: encoding, the table of all of them, text, and a way to write them."""
