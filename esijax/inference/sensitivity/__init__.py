"""What an answer makes of the data: degrees of freedom, leverage, point spread."""
