"""The typed tree to LLVM assembly: `lower(unit, cpu)`."""
