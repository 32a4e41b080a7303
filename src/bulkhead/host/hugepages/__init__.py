"""Huge pages: asks the kernel for them and looks what it gave."""
