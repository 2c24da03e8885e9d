"""Network parts with a name of their own."""
