"""Both twins beside each other: compared, verified, examined, asked about pictures."""
