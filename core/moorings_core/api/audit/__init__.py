"""Who did what and when: `policy` says what is recorded, `trail` follows a request, `events` writes it down, `log` keeps the file."""
