"""Reads a mailbox over IMAP as a mail program does, and prints all mails as JSON, oldest first.

Usage: read_mail.py PORT USER PASSWORD
Each is an object of its headers, decoded and in lower case, and of "parts": each with "type", "charset" and "text".
Not here: what should be in them.
"""

import email
import email.policy
import imaplib
import json
import sys


def mails(port, user, password):
    with imaplib.IMAP4("127.0.0.1", port, timeout=10) as server:
        server.login(user, password)
        server.select(readonly=True)
        for number in server.search(None, "ALL")[1][0].split():
            raw = server.fetch(number, "(RFC822)")[1][0][1]
            yield email.message_from_bytes(raw, policy=email.policy.default)


def shown(mail):
    parts = [
        {"type": part.get_content_type(), "charset": part.get_content_charset(), "text": part.get_content()}
        for part in mail.walk()
        if not part.is_multipart()
    ]
    return {**{name.lower(): str(value) for name, value in mail.items()}, "parts": parts}


def main():
    port, user, password = sys.argv[1:]
    print(json.dumps([shown(mail) for mail in mails(int(port), user, password)]))


if __name__ == "__main__":
    main()
