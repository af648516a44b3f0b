"""Where messages come from. Each transport gives partitions of ordered lines; what lines mean is not known here."""
